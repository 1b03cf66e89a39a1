/**
 * Shows a failed check of this pack as a toast: the input and its numbers as headline, the remedy below.
 *
 * The host's own panel says only that the node threw an error. Contract with infinitetalk/errors.py: an InputError's
 * text is two lines. Knows no node and changes nothing on the graph.
 */
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const INPUT_ERROR = ".infinitetalk.errors.InputError"; // the end of the exception's module-qualified name

function showInputError({ detail }) {
  if (!detail?.exception_type?.endsWith(INPUT_ERROR)) return;
  const [problem, ...remedy] = detail.exception_message.trim().split("\n");
  app.extensionManager.toast.add({ severity: "error", summary: problem, detail: remedy.join("\n"), life: 20000 });
}

app.registerExtension({
  name: "infinitetalk.inputError",
  setup() {
    api.addEventListener("execution_error", showInputError);
  },
});
