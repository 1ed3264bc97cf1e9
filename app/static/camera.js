// A camera at this computer, a USB dermatoscope's for example: the browser asks for permission when it is opened.

import { say } from "./say.js";

/** @param {string} part */
const find = part => /** @type {any} */ (document.querySelector(`#camera [data-part="${part}"]`));

const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("camera"));

/** @type {MediaStream | null} */
let stream = null;

/** How often a camera was asked for or left: what was begun before the last time is no longer wanted. */
let last = 0;

/** @type {(reason: Error) => void}  ends the choice where another camera that was asked for is busy */
let fail;

/** Whether browsers let this page ask: they do on https and on localhost. */
export const hasCameras = () => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Show what the camera sees until a picture is taken.
 *
 * @returns {Promise<File | null>}  the picture as a PNG; null where none was taken
 * @throws where there is no camera, or it may not be used
 */
export async function photograph() {
  try {
    await show();
    await list();
    dialog.returnValue = "";
    dialog.showModal();
    const closed = new Promise(resolve => dialog.addEventListener("close", resolve, { once: true }));
    await Promise.race([closed, new Promise((_, reject) => (fail = reject))]);
    return dialog.returnValue === "take" ? await take() : null;
  } finally {
    dialog.close();
    stop();
  }
}

/** @param {string} [deviceId]  any where none is named */
async function show(deviceId) {
  stop();
  const wanted = { width: { ideal: 1920 }, height: { ideal: 1440 }, ...(deviceId && { deviceId: { exact: deviceId } }) };
  const turn = ++last, opened = await navigator.mediaDevices.getUserMedia({ video: wanted });
  if (turn !== last) { // another was chosen, or the dialog closed, while this one was opening
    opened.getTracks().forEach(track => track.stop());
    return;
  }
  stream = opened;
  find("video").srcObject = stream;
  await find("video").play().catch((/** @type {Error} */ reason) => {
    if (turn === last) throw reason;
  });
}

/** The cameras to choose from; their names are known once one may be used. */
async function list() {
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(device => device.kind === "videoinput");
  const used = stream?.getVideoTracks()[0].getSettings().deviceId;
  find("which").replaceChildren(...cameras.map(({ label, deviceId }) => new Option(label, deviceId, false, deviceId === used)));
  find("choice").hidden = cameras.length < 2;
}

async function take() {
  const video = find("video"), canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d")).drawImage(video, 0, 0);
  const time = new Date().toTimeString().slice(0, 8).replaceAll(":", "-");
  return new File([await canvas.convertToBlob({ type: "image/png" })], `${say("camera_file", { time })}.png`, { type: "image/png" });
}

function stop() {
  last++;
  stream?.getTracks().forEach(track => track.stop());
  stream = null;
}

find("which").addEventListener("change", () => show(find("which").value).catch(reason => fail(reason)));
