// The result, made better: how strongly the activation map covers the image, and a button that prints.

for (const picture of document.querySelectorAll(".picture:has(.map)")) {
  const map = picture.querySelector(".map");
  const label = picture.querySelector(".opacity");
  const slider = label.querySelector("input");
  const cover = () => (map.style.opacity = slider.value / 100);
  label.hidden = false;
  slider.addEventListener("input", cover);
  cover();
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
