// Stores the page on the device: registers the service worker, says so, and offers its updates.

/**
 * @param {HTMLElement} offline  shown as soon as the page works without a network
 * @param {HTMLElement} update  shown when a new version waits; its button takes it
 */
export async function keep(offline, update) {
  if (!("serviceWorker" in navigator)) return; // browsers have it on https and localhost only
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  const offer = () => (update.hidden = !(registration.waiting && navigator.serviceWorker.controller));
  const follow = () => registration.installing?.addEventListener("statechange", offer);
  registration.addEventListener("updatefound", follow);
  follow(); // the browser looks for updates while the page loads
  offer();
  update.querySelector("button")?.addEventListener("click", () => {
    navigator.serviceWorker.addEventListener("controllerchange", () => location.reload());
    registration.waiting?.postMessage("take over");
  });
  await navigator.serviceWorker.ready;
  offline.hidden = false;
}
