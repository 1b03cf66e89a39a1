/**
 * An upload button on Load InfiniteTalk Speech that takes audio and video files.
 *
 * The host's own audio upload belongs to its Load Audio node: it needs that node's player and takes no video.
 * Knows the one node and its widget `file`; uploads go into the input folder as the host's do.
 */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "InfiniteTalkLoadSpeech";
const LABEL = "choose file to upload";

async function upload(file) {
  const body = new FormData();
  body.append("image", file); // the host's one route for files of every kind
  const response = await api.fetchApi("/upload/image", { method: "POST", body });
  if (response.status !== 200) throw new Error(`${response.status} ${response.statusText}`);
  const { name, subfolder } = await response.json();
  return subfolder ? `${subfolder}/${name}` : name;
}

function choose(node, widget, button) {
  const input = Object.assign(document.createElement("input"), { type: "file", accept: "audio/*,video/*" });
  input.onchange = async () => {
    if (!input.files.length) return;
    button.label = "uploading";
    try {
      const name = await upload(input.files[0]);
      if (!widget.options.values.includes(name)) widget.options.values.push(name);
      widget.value = name;
      widget.callback?.(name);
    } catch (error) {
      const summary = `${input.files[0].name} could not be uploaded`;
      app.extensionManager.toast.add({ severity: "error", summary, detail: String(error), life: 20000 });
    }
    button.label = LABEL;
    node.setDirtyCanvas(true);
  };
  input.click();
}

app.registerExtension({
  name: "infinitetalk.loadSpeech",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const widget = node.widgets.find((one) => one.name === "file");
    const button = node.addWidget("button", "upload", "", () => choose(node, widget, button), {
      serialize: false,
      canvasOnly: true, // the other kind of nodes has its own
    });
    button.label = LABEL;
  },
});
