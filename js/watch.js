/**
 * A "Watch" button on the node of a run: opens what is finished so far in a new tab, while the run goes on.
 *
 * Contract with infinitetalk/host/progress.py: the event "infinitetalk.watch" {node, filename, subfolder, type} comes
 * with every finished window, so the button is there again after the page was loaded anew. The button is part of no
 * workflow and no prompt.
 */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const LABEL = "Watch";
const OURS = /^InfiniteTalk/; // another workflow may be open that has the id on a node of somebody else
const files = new WeakMap(); // node -> what its button opens

function findNode(path) {
  const ids = String(path).split(":"); // inside subgraphs: the ids of the nodes around it first
  let graph = app.rootGraph ?? app.graph;
  for (const id of ids.slice(0, -1)) graph = graph?.getNodeById(id)?.subgraph;
  const node = graph?.getNodeById(ids.at(-1));
  return OURS.test(node?.comfyClass ?? "") ? node : undefined;
}

function openFile(node) {
  const { filename, subfolder, type } = files.get(node);
  const query = new URLSearchParams({ filename, subfolder, type, t: Date.now() }); // t: not what was there before
  window.open(api.apiURL(`/view?${query}`), "_blank");
}

function addButton(node) {
  const button = node.addWidget("button", LABEL, null, () => openFile(node), { serialize: false });
  button.serialize = false; // this one keeps it out of the workflow, the option out of the prompt
  button.tooltip = "Open what is finished so far in a new tab.";
  const [width, height] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
  node.setDirtyCanvas(true, true);
}

function offer({ detail }) {
  const node = findNode(detail.node);
  if (!node) return;
  const known = files.has(node);
  files.set(node, detail);
  if (!known) addButton(node);
}

app.registerExtension({
  name: "infinitetalk.watch",
  setup() {
    api.addEventListener("infinitetalk.watch", offer);
  },
});
