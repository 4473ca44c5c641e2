"use strict";
// Pages are whole without this: it adds hover and zoom on charts, copying, a live list, and notices a token's first request.
(() => {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  document.body.append(tip);
  const prepare = (root) => {
    for (const bar of root.querySelectorAll(".plot g")) {
      const title = bar.querySelector("title");
      if (!title) continue;
      const words = title.textContent;
      bar.addEventListener("pointerenter", () => { title.textContent = ""; tip.textContent = words; tip.hidden = false; });
      bar.addEventListener("pointermove", (event) => {
        const box = tip.getBoundingClientRect();
        const left = event.clientX + 16 + box.width > innerWidth ? event.clientX - box.width - 12 : event.clientX + 16;
        tip.style.left = `${Math.max(4, left)}px`;
        tip.style.top = `${Math.max(4, Math.min(event.clientY - 12, innerHeight - box.height - 8))}px`;
      });
      bar.addEventListener("pointerleave", () => { title.textContent = words; tip.hidden = true; });
    }
  };
  prepare(document);

  // A step of a chart leads where its row in the table beneath does: to that day.
  for (const block of document.querySelectorAll("section.block")) {
    const steps = block.querySelectorAll(".plot g");
    const links = block.querySelectorAll("tbody td:first-child a");
    if (!steps.length || steps.length !== links.length) continue;
    steps.forEach((step, at) => {
      step.classList.add("leads");
      step.addEventListener("click", () => location.assign(links[at].href));
    });
  }

  for (const block of document.querySelectorAll("figure pre, .copy")) {
    const button = document.createElement("button");
    button.className = "quiet";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(block.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.after(button);
  }

  const live = document.getElementById("live");
  if (live) {
    live.closest("label").hidden = false;
    const refresh = async () => {
      if (!live.checked) return;
      if (!document.hidden) {
        try {
          const answer = await fetch(location.href, { headers: { accept: "text/html" } });
          if (answer.redirected) { location.reload(); return; } // the log-in has ended
          const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("fresh");
          if (answer.ok && fresh) document.getElementById("fresh").replaceChildren(...fresh.childNodes);
        } catch { /* the next look tries again */ }
      }
      setTimeout(refresh, 2000);
    };
    live.addEventListener("change", refresh);
  }

  const waiting = document.getElementById("waiting");
  if (waiting) {
    const look = async () => {
      try {
        const answer = await fetch(`/first-request?token=${encodeURIComponent(waiting.dataset.token)}`);
        if (answer.redirected) return;
        const found = await answer.json();
        if (found) {
          waiting.textContent = `Its first request has come: ${found.provider ?? ""} ${found.model ?? ""}, status ${found.status ?? "–"}. `;
          const link = document.createElement("a");
          link.href = `/requests/${encodeURIComponent(found.event_id)}`;
          link.textContent = "Look at it";
          waiting.append(link);
          return;
        }
      } catch { /* the next look tries again */ }
      setTimeout(look, 2000);
    };
    look();
  }
})();
