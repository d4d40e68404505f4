// What pages do better with a script. Everything works without it.
// It never makes markup of a text: only textContent, attributes and classes are set.
"use strict";
(() => {
  const zone = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
  const exact = { dateStyle: "full", timeStyle: "long" };
  const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

  const ago = (date) => {
    const seconds = (date - Date.now()) / 1000;
    const size = Math.abs(seconds);
    if (size < 60) return relative.format(Math.round(seconds), "second");
    if (size < 3600) return relative.format(Math.round(seconds / 60), "minute");
    if (size < 86400) return relative.format(Math.round(seconds / 3600), "hour");
    if (size < 7 * 86400) return relative.format(Math.round(seconds / 86400), "day");
    return date.toLocaleString("en-GB", zone);
  };

  const times = (root) => {
    for (const element of root.querySelectorAll("time[datetime]")) {
      const date = new Date(element.dateTime);
      if (Number.isNaN(date.getTime())) continue;
      element.textContent = ago(date);
      element.title = date.toLocaleString("en-GB", exact) + " (" + element.dateTime + ")";
    }
  };

  const copyButtons = (root) => {
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
  };

  const copy = async (button) => {
    const text = button.parentElement.querySelector("code").textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Without https there is no clipboard; the text is selected so that the keyboard can copy it.
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector("code"));
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      done = false;
    }
    button.textContent = done ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  };

  // Says how many are chosen, and keeps the button off while none is.
  const counted = (form) => {
    const boxes = [...form.querySelectorAll("input[type=checkbox][name=tag]")];
    const chosen = boxes.filter((box) => box.checked).length;
    for (const button of form.querySelectorAll("[data-counts]")) {
      button.disabled = chosen === 0;
      button.textContent = button.dataset.counts + (chosen > 0 ? " (" + chosen + ")" : "");
    }
    const all = form.querySelector("input[data-all]");
    if (all) {
      all.checked = chosen > 0 && chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
    }
  };

  const choosers = (root) => {
    for (const form of root.querySelectorAll("form[data-choose]")) {
      for (const label of form.querySelectorAll("[data-all-label]")) label.hidden = false;
      counted(form);
    }
  };

  // Looks now and then whether something newer is there, and offers it; it never takes a page away.
  const live = (element) => {
    const look = async () => {
      if (document.hidden) return;
      try {
        const answer = await fetch(element.dataset.live, { headers: { accept: "text/plain" } });
        if (!answer.ok || answer.redirected) return;
        if ((await answer.text()) !== element.dataset.version) element.hidden = false;
      } catch { /* The server is away for a moment; the next look tells. */ }
    };
    setInterval(look, 5000);
  };

  const begin = (root) => {
    times(root);
    copyButtons(root);
    choosers(root);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (button) copy(button);
    for (const open of document.querySelectorAll("details.sure[open]")) {
      if (!open.contains(event.target)) open.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const open of document.querySelectorAll("details.sure[open]")) {
      open.open = false;
      open.querySelector("summary").focus();
    }
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-choose]");
    if (!form) return;
    if (event.target.dataset.all !== undefined) {
      for (const box of form.querySelectorAll("input[type=checkbox][name=tag]")) box.checked = event.target.checked;
    }
    counted(form);
  });
  document.addEventListener("htmx:afterSwap", (event) => begin(event.detail.elt.parentElement || document));
  setInterval(() => times(document), 60000);
  begin(document);
  for (const element of document.querySelectorAll("[data-live]")) live(element);
})();
