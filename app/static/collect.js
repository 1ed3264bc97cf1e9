// Images in, by file, drop, paste or a connected camera: the same on the form and on the on-device page.

import { hasCameras, photograph } from "./camera.js";
import { reason, say } from "./say.js";

/**
 * @param {HTMLElement} form  has the file inputs and the camera's button, and the class `over` while a file is held over
 *   the page; once it is gone, nothing more is taken
 * @param {(files: File[]) => void} take
 * @param {(message: string) => void} tell  why the camera cannot be used
 */
export function collect(form, take, tell) {
  for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("input[type=file]"))) {
    input.addEventListener("change", () => {
      const files = [...(input.files ?? [])];
      input.value = ""; // so that the same file can be chosen again
      take(files);
    });
  }
  for (const kind of /** @type {const} */ (["dragover", "dragleave", "drop"])) {
    // On the window: a file dropped beside the form, or on a result, would otherwise replace the page.
    window.addEventListener(kind, event => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      form.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && form.isConnected) take([...event.dataTransfer.files]);
    });
  }
  window.addEventListener("paste", event => {
    if (!event.clipboardData?.files.length || !form.isConnected) return;
    event.preventDefault();
    take([...event.clipboardData.files]);
  });
  const camera = /** @type {HTMLElement} */ (form.querySelector("#connected"));
  camera.hidden = !hasCameras();
  camera.addEventListener("click", async () => {
    try {
      const taken = await photograph();
      if (taken) take([taken]);
    } catch (error) {
      tell(say("no_camera", { reason: reason(error) }));
    }
  });
}
