"use strict";
// The theme is set before anything is drawn; everything else waits for the page. Without this script every page still
// reads: code opens cell by cell and the theme follows the system.
const root = document.documentElement;
const remembered = {
  get: () => { try { return localStorage.getItem("theme"); } catch { return null; } },
  set: (value) => { try { localStorage.setItem("theme", value); } catch { /* private window: not remembered */ } },
};
const theme = remembered.get();
if (theme === "light" || theme === "dark") root.dataset.theme = theme;

document.addEventListener("DOMContentLoaded", () => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const isDark = () => (root.dataset.theme ?? (system.matches ? "dark" : "light")) === "dark";
  const label = () => { button.textContent = isDark() ? "Light theme" : "Dark theme"; };
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remembered.set(root.dataset.theme);
    label();
  });
  system.addEventListener("change", label);
  button.hidden = false;
  label();

  const all = document.getElementById("code");
  const cells = [...document.querySelectorAll("details.code")];
  if (all && cells.length) {
    all.hidden = false;
    all.addEventListener("click", () => {
      const show = all.getAttribute("aria-pressed") !== "true";
      all.setAttribute("aria-pressed", String(show));
      all.textContent = show ? "Hide code" : "Show code";
      cells.forEach((cell) => { cell.open = show; });
    });
  }

  // Figures are wider than a phone: a tap shows one at its own size, in a window that scrolls.
  const figures = [...document.querySelectorAll("main figure > img")];
  if (figures.length) {
    const [zoom, close, large] = ["dialog", "button", "img"].map((name) => document.createElement(name));
    zoom.className = "zoom";
    zoom.tabIndex = 0;
    close.type = "button";
    close.textContent = "Close";
    zoom.append(close, large);
    document.body.append(zoom);
    for (const part of [close, large]) part.addEventListener("click", () => zoom.close());
    figures.forEach((image, number) => {
      const enlarge = () => {
        large.src = image.src;
        large.alt = image.alt;
        large.style.width = `${Math.max(image.naturalWidth / 2, innerWidth * 0.96)}px`;
        zoom.setAttribute("aria-label", `Figure ${number + 1}, enlarged`);
        zoom.showModal();
      };
      const button = document.createElement("button");
      button.type = "button";
      button.className = "enlarge";
      button.textContent = "Enlarge";
      button.setAttribute("aria-label", `Enlarge figure ${number + 1}`);
      button.addEventListener("click", enlarge);
      image.addEventListener("click", enlarge);
      image.parentElement.append(button);
    });
  }

  const entries = new Map([...document.querySelectorAll(".contents.wide a")].map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      if (!isIntersecting) continue;
      entries.forEach((a) => a.removeAttribute("aria-current"));
      entries.get(target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "0px 0px -75% 0px" });
  document.querySelectorAll("main :is(h2, h3)[id]").forEach((heading) => seen.observe(heading));
});
