/* Names for the controls that the widget manager draws without any. */
(() => {
  const name = (element, text) => {
    if (text && !element.hasAttribute("aria-label")) element.setAttribute("aria-label", text);
  };

  function nameControls() {
    document.querySelectorAll(".widget-slider").forEach((widget) => {
      const label = widget.querySelector(".widget-label");
      const text = (label && label.textContent.trim()) || "value";
      widget.querySelectorAll(".noUi-handle, .widget-readout").forEach((part) => name(part, text));
    });
    document.querySelectorAll(".widget-play button").forEach((button) => name(button, button.title || "Play"));
    document.querySelectorAll(".jp-OutputArea-output pre, .output pre, div.highlight pre, .bd-article .pst-scrollable-table-container")
      .forEach((box) => {
        /* What scrolls sideways must be reachable by keyboard. */
        if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
        else box.removeAttribute("tabindex");
      });
  }

  let queued = false;
  const later = () => {
    if (queued) return;
    queued = true;
    requestAnimationFrame(() => { queued = false; nameControls(); });
  };
  addEventListener("load", () => {
    const main = document.querySelector("main") || document.body;
    new MutationObserver(later).observe(main, { childList: true, subtree: true });
    addEventListener("resize", later);
    later();
  });
})();
