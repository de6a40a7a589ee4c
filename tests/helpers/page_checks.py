"""Accessibility checks of a page in a real browser."""

from __future__ import annotations

# luminance contrast of every text with its background (WCAG 2, 1.4.3)
CONTRAST = """
const light = (css) => {
  const linear = (v) => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = css.match(/[\\d.]+/g).map((v) => linear(v / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!/, 0\\)$|transparent/.test(colour)) return colour;
  }
  return getComputedStyle(document.documentElement).colorScheme === "dark" ? "rgb(0,0,0)" : "rgb(255,255,255)";
};
const worst = {};
for (const e of document.body.querySelectorAll("*")) {
  const says = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
  if (!says || !e.checkVisibility() || e.closest("svg, style, option")) continue;
  const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) worst[`${e.tagName}.${e.className}: ${e.textContent.slice(0, 30)}`] = ratio;
}
return worst;
"""
NAMELESS = """
return [...document.querySelectorAll("img, svg[role=img], audio, button, a, select, input")].filter((e) => {
  const said = e.getAttribute("aria-label") || e.getAttribute("alt") || e.textContent.trim();
  return e.checkVisibility() && !said && !(e.labels && e.labels.length);
}).map((e) => e.outerHTML.slice(0, 80));
"""
SKIPPED_LEVELS = """
let last = 0;
return [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter((e) => e.checkVisibility()).filter((e) => {
  const level = Number(e.tagName[1]), skipped = level > last + 1;
  last = level;
  return skipped;
}).map((e) => e.textContent);
"""
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def check_page(browser) -> None:
    """At 400 and 1,400 pixels, light and dark: nothing overflows, texts have contrast, and all controls have a name."""
    try:
        for width in (400, 1400):
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            for scheme in ("light", "dark"):
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
                assert browser.execute_script(WIDER) <= 0, f"{width} pixels, {scheme}"
                assert browser.execute_script(CONTRAST) == {}, f"{width} pixels, {scheme}"
        assert browser.execute_script(NAMELESS) == []
        assert browser.execute_script(SKIPPED_LEVELS) == []
        assert browser.execute_script("return document.querySelectorAll('main').length") == 1
        assert browser.execute_script("return document.documentElement.lang") == "en"
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
