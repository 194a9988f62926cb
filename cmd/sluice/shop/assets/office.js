// The back office asks for the shop's numbers once a second and draws them as
// the page did when it was made. Without it, reloading shows the same.
(() => {
  const $ = (id) => document.getElementById(id);
  const row = (...cells) => {
    const tr = document.createElement("tr");
    tr.append(...cells);
    return tr;
  };
  const cell = (text, kind = "td", cls = "") => {
    const c = document.createElement(kind);
    c.textContent = text;
    if (cls) c.className = cls;
    return c;
  };

  const bar = (percent) => {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("class", "bar");
    svg.setAttribute("viewBox", "0 0 100 8");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const rect = document.createElementNS(ns, "rect");
    rect.setAttribute("width", percent);
    rect.setAttribute("height", 8);
    svg.append(rect);
    return svg;
  };

  function draw(n) {
    $("requests").textContent = n.requests_per_second;
    $("visitors").textContent = n.visitors;
    $("slowest").textContent = Math.round(n.slowest_seconds * 1000) + " ms";
    $("busy").textContent = n.busy + (n.capacity ? " / " + n.capacity : "");
    $("mood").textContent = n.capacity && n.busy > n.capacity ? "The shop is out of breath" : "The shop is calm";
    $("left").textContent = n.stock + " of " + n.edition;
    $("count").textContent = n.orders;

    let top = 10;
    for (const s of n.history) while (s.requests > top) top *= 2;
    const step = 600 / (n.history.length - 1);
    const line = n.history
      .map((s, i) => (i ? "L" : "M") + (i * step).toFixed(1) + " " + (160 - (150 * s.requests) / top).toFixed(1))
      .join("");
    $("line").setAttribute("d", line);
    $("area").setAttribute("d", line + "L600 160L0 160Z");
    $("top").textContent = "up to " + top;

    $("lamps").replaceChildren(...n.lamps.map((l) => {
      const td = document.createElement("td");
      td.append(bar((100 * l.left) / Math.max(l.edition, 1)));
      const th = cell(l.name, "th");
      th.scope = "row";
      return row(th, td, cell(l.left, "td", "num"));
    }));
    $("latest").replaceChildren(...(n.latest.length
      ? n.latest.map((o) => row(cell(o.number, "td", "num"), cell(o.name),
        cell(o.pieces + " × " + o.lamp + ", " + o.colour), cell(o.paid ? "paid" : "open")))
      : [row(cell("None yet."))]));
  }

  async function look() {
    try {
      const answer = await fetch("/office/live", { cache: "no-store" });
      if (answer.ok) draw(await answer.json());
    } catch {
      $("mood").textContent = "The shop does not answer";
    }
    setTimeout(look, 1000);
  }
  setTimeout(look, 1000);
})();
