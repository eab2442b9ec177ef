// Returns what is wrong with the page that is shown, for people who see badly or use no mouse.
(() => {
  const found = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const channels = (colour) => colour.match(/[\d.]+/g).map(Number);

  const luminance = (colour) => {
    const [r, g, b] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      const parts = channels(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };

  for (const element of all("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const [dark, light] = [luminance(style.color), luminance(background(element))].sort((a, b) => a - b);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(1)}: ${element.textContent.slice(0, 40)}`);
  }

  if (!document.documentElement.lang) found.push("no language");
  if (!document.title) found.push("no title");
  for (const name of ["h1", "main", "header", "footer"]) {
    if (all(name).length !== 1) found.push(`not one ${name}`);
  }
  for (const element of all("a")) {
    if (!element.textContent.trim() || !element.hasAttribute("href")) found.push("a link without text");
  }
  for (const element of all("nav")) {
    if (!element.getAttribute("aria-label")) found.push("navigation without a label");
  }
  for (const element of all("section")) {
    const label = document.getElementById(element.getAttribute("aria-labelledby"));
    if (!label) found.push("a section without a label");
  }
  for (const element of all("svg")) {
    const parts = (element.getAttribute("aria-labelledby") || "").split(" ");
    const told = parts.map((id) => document.getElementById(id)?.textContent);
    if (element.getAttribute("role") !== "img" || told.length < 2 || !told.every(Boolean)) {
      found.push("a drawing that is not told");
    }
    const line = element.querySelector(".line");
    const [dark, light] = [getComputedStyle(line).stroke, background(element)]
      .map(luminance)
      .sort((a, b) => a - b);
    if ((light + 0.05) / (dark + 0.05) < 3) found.push("a line that is hard to see");
  }
  for (const element of all("table")) {
    if (!element.caption || !element.caption.textContent) found.push("a table without a caption");
  }
  for (const element of all("th")) {
    if (!element.getAttribute("scope")) found.push("a heading without a scope");
  }

  const order = all("h1, h2, h3").map((heading) => Number(heading.tagName[1]));
  order.forEach((level, at) => {
    if (at && level > order[at - 1] + 1) found.push("a level of headings is left out");
  });
  const ids = all("[id]").map((element) => element.id);
  if (new Set(ids).size !== ids.length) found.push("an id is there twice");
  if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the window");
  return found;
})();
