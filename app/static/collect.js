// Images in, by file, drop, paste or a connected camera: the same on the form and on the on-device page.

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
  camera.hidden = !navigator.mediaDevices?.getUserMedia; // browsers let a page ask on https and on localhost
  camera.addEventListener("click", async () => {
    try {
      const taken = await photograph();
      if (taken) take([taken]);
    } catch (error) {
      tell(say("no_camera", { reason: reason(error) }));
    }
  });
}

// ---- A camera at this computer, a USB dermatoscope's for example: the browser asks for permission when it is opened.

/** @param {string} part */
const find = part => /** @type {any} */ (document.querySelector(`#camera [data-part="${part}"]`));

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("camera"));

/** @type {MediaStream | null} */
let stream = null;

/** How often a camera was asked for or left: what was begun before the last time is no longer wanted. */
let turns = 0;

/** @type {(reason: Error) => void}  ends the choice where another camera that was asked for is busy */
let fail;

/**
 * Show what the camera sees until a picture is taken.
 *
 * @returns {Promise<File | null>}  the picture as a PNG; null where none was taken
 * @throws where there is no camera, or it may not be used
 */
async function photograph() {
  try {
    await openCamera();
    await listCameras();
    dialog.returnValue = "";
    dialog.showModal();
    const closed = new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
    await Promise.race([closed, new Promise((_, reject) => (fail = reject))]);
    return dialog.returnValue === "take" ? await shot() : null;
  } finally {
    dialog.close();
    closeCamera();
  }
}

/** @param {string} [deviceId]  any where none is named */
async function openCamera(deviceId) {
  closeCamera();
  const wanted = { width: { ideal: 1920 }, height: { ideal: 1440 }, ...(deviceId && { deviceId: { exact: deviceId } }) };
  const turn = ++turns, opened = await navigator.mediaDevices.getUserMedia({ video: wanted });
  if (turn !== turns) { // another was chosen, or the dialog closed, while this one was opening
    opened.getTracks().forEach(track => track.stop());
    return;
  }
  stream = opened;
  find("video").srcObject = stream;
  await find("video").play().catch((/** @type {Error} */ reason) => {
    if (turn === turns) throw reason;
  });
}

/** The cameras to choose from; their names are known once one may be used. */
async function listCameras() {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(device => device.kind === "videoinput");
  const used = stream?.getVideoTracks()[0].getSettings().deviceId;
  find("which").replaceChildren(...cameras.map(({ label, deviceId }) => new Option(label, deviceId, false, deviceId === used)));
  find("choice").hidden = cameras.length < 2;
}

async function shot() {
  const video = find("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d")).drawImage(video, 0, 0);
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([await canvas.convertToBlob({ type: "image/png" })], `${say("camera_file", { time })}.png`, { type: "image/png" });
}

function closeCamera() {
  turns++;
  stream?.getTracks().forEach(track => track.stop());
  stream = null;
}

find("which").addEventListener("change", () => openCamera(find("which").value).catch(reason => fail(reason)));
