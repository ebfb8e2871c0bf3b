"""What every view must be for everybody: measured in the browser, from computed styles.

contrast_problems    texts and icons too faint for their ground (WCAG 2.2, 1.4.3 and 1.4.11)
unnamed              controls that a screen reader could not name
focus_path           what the Tab key reaches, in its order
axe_problems         what axe-core finds, where it is installed (AXE)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Page

AXE = Path(
    os.environ.get(
        "DUOLOGUE_AXE",
        Path(__file__).parents[3] / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js",
    )
)

_CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], ground) =>
    [r, g, b].map((value, index) => value * a + ground[index] * (1 - a));
  const linear = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const luminance = (color) => {
    const [r, g, b] = color.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const ground = (node) => {
    const layers = [];
    for (let here = node; here; here = here.parentElement) {
      layers.push(rgba(getComputedStyle(here).backgroundColor));
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const opacity = (node) => {
    let product = 1;
    for (let here = node; here; here = here.parentElement) {
      product *= Number(getComputedStyle(here).opacity);
    }
    return product;
  };
  const shown = (node) =>
    node.checkVisibility({visibilityProperty: true}) && node.getClientRects().length > 0 &&
    !node.closest(".hidden, .skip, :disabled");
  const problems = [];
  const check = (node, color, wanted, what) => {
    const behind = ground(node);
    const [r, g, b, a] = rgba(color);
    const seen = over([r, g, b, a * opacity(node)], behind);
    const found = ratio(seen, behind);
    if (found < wanted) problems.push(`${what}: ${found.toFixed(2)} < ${wanted}`);
  };
  let count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    const text = walker.currentNode.data.trim();
    if (!text || node.closest("script, noscript, option") || !shown(node)) continue;
    const style = getComputedStyle(node);
    const isLarge = parseFloat(style.fontSize) >= 24;
    count += 1;
    check(node, style.color, isLarge ? 3 : 4.5, text.slice(0, 40));
  }
  for (const icon of document.querySelectorAll("svg.icon")) {
    if (shown(icon)) check(icon, getComputedStyle(icon).color, 3, `icon ${icon.innerHTML}`);
  }
  for (const field of document.querySelectorAll("input, textarea, select")) {
    if (!shown(field)) continue;
    check(field, getComputedStyle(field).color, 4.5, `field ${field.id}`);
    if (field.placeholder) {
      check(field, getComputedStyle(field, "::placeholder").color, 4.5, `hint of ${field.id}`);
    }
  }
  return {count, problems};
}"""

_UNNAMED = """() => [...document.querySelectorAll(
    "button, a, input, select, textarea, [role=button], [role=meter], [role=region], summary"
  )].filter((node) => {
    const labels = node.labels ? [...node.labels].map((label) => label.textContent) : [];
    const by = node.getAttribute("aria-labelledby");
    const names = [node.getAttribute("aria-label"), by && document.getElementById(by)?.textContent,
      ...labels, node.matches("input, select, textarea") ? "" : node.textContent];
    return !names.some((name) => name?.trim());
  }).map((node) => node.outerHTML.slice(0, 120))"""

_FOCUSED = """() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const box = node.getBoundingClientRect();
  const target = node.matches(".hidden") ? node.parentElement : node;
  const style = getComputedStyle(target);
  return {
    name: node.id || node.getAttribute("aria-label") || node.textContent.trim().slice(0, 40),
    isShown: box.width > 0 && box.height > 0 && getComputedStyle(node).visibility === "visible",
    hasRing: (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1) ||
      target.closest(".pane.source") !== null,
  };
}"""


def contrast_problems(page: Page) -> list[str]:
    found = page.evaluate(_CONTRAST)
    assert found["count"] > 5, "the page shows hardly any text"
    return found["problems"]


def unnamed(page: Page) -> list[str]:
    return page.evaluate(_UNNAMED)


def focus_path(page: Page, most: int = 120) -> list[dict[str, Any]]:
    """Tab from the first link until the focus leaves the page.

    Each stop is {name, isShown, hasRing}; hasRing: whether it can be seen where the focus is.
    """
    page.locator(".skip").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    path: list[dict[str, Any]] = [page.evaluate(_FOCUSED)]
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUSED)
        if stop is None:
            return path
        path.append(stop)
    raise AssertionError(f"the focus never leaves the page: {[stop['name'] for stop in path[-5:]]}")


def axe_problems(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """() => axe.run(document, {
            runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        })"""
    )
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:120]}"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]
