// What ipywidgets' controls leave out for people who don't see them, set again whenever a control appears or changes.
"use strict";

const name = control => control.querySelector(".widget-label")?.textContent.trim() ?? "";

function tell(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

function mend() {
  for (const slider of document.querySelectorAll(".widget-slider")) {
    const handle = slider.querySelector(".noUi-handle"), readout = slider.querySelector(".widget-readout");
    if (handle) tell(handle, "aria-label", name(slider));
    const typed = document.querySelector("[data-typed]")?.dataset.typed;
    if (readout && typed) {
      tell(readout, "role", "textbox");
      tell(readout, "aria-label", typed.replace("{name}", name(slider)));
    }
  }
  for (const button of document.querySelectorAll(".widget-toggle-button"))
    tell(button, "aria-pressed", String(button.classList.contains("mod-active")));
  for (const live of document.querySelectorAll(".lab-live > .widget-html-content")) tell(live, "role", "status");
}

// More than the connection to the kernel carries in one message would end it without a word. The file input is never
// part of the page, so that it can only be caught as ipywidgets opens it.
function refuse(event) {
  const { mostBytes, tooLarge } = document.querySelector("[data-most-bytes]").dataset, most = Number(mostBytes);
  const bytes = [...event.target.files].reduce((sum, file) => sum + file.size, 0);
  if (bytes <= most) return;
  event.stopImmediatePropagation();
  const megabytes = count => Math.ceil(count / 2 ** 20);
  document.querySelector(".lab-status > .widget-html-content").innerHTML =
    `<p class="notice loud">${tooLarge.replace("{megabytes}", megabytes(bytes)).replace("{most}", megabytes(most))}</p>`;
}

const open = HTMLInputElement.prototype.click;
HTMLInputElement.prototype.click = function () {
  if (this.type === "file") this.addEventListener("change", refuse, { capture: true });
  open.call(this);
};

// An example's picture does what the button below it does.
document.addEventListener("click", ({ target }) => {
  if (target.matches(".lab-tries img")) target.closest(".widget-vbox").querySelector("button").click();
});

new MutationObserver(mend).observe(document, {
  attributeFilter: ["class"],
  attributes: true,
  childList: true,
  subtree: true,
});
