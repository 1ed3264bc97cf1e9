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
