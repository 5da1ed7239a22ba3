"""How well the text of a page can be read: contrast ratios as WCAG 2 defines them."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

# WCAG 2, level AA, for text of any size.
ENOUGH = 4.5

# For every visible text: [its beginning, its colour, the opaque colour behind it, its opacity].
TEXT_COLOURS = """() => {
    const rgba = (text) => {
        const [red, green, blue, alpha = 1] = text.match(/[\\d.]+/g).map(Number);
        return [red, green, blue, alpha];
    };
    const over = (top, bottom) =>
        [0, 1, 2].map((part) => top[part] * top[3] + bottom[part] * (1 - top[3]));
    const behind = (element) => {
        if (!element) return [255, 255, 255];
        const colour = rgba(getComputedStyle(element).backgroundColor);
        return colour[3] === 1 ? colour.slice(0, 3) : over(colour, behind(element.parentElement));
    };
    const opacity = (element) =>
        element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1;
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode()); ) {
        const element = node.parentElement;
        const { width, height } = element.getBoundingClientRect();
        const isSeen = element.checkVisibility() && width > 1 && height > 1;
        if (!isSeen || !node.textContent.trim() || element.closest("script, style")) continue;
        const back = behind(element);
        const [red, green, blue, alpha] = rgba(getComputedStyle(element).color);
        const front = over([red, green, blue, alpha * opacity(element)], back);
        found.push([node.textContent.trim().slice(0, 40), front, back]);
    }
    for (const field of document.querySelectorAll("input, textarea")) {
        if (!field.checkVisibility() || field.type === "hidden") continue;
        found.push([`field ${field.name}`, rgba(getComputedStyle(field).color), behind(field)]);
        if (!field.placeholder) continue;
        const { color } = getComputedStyle(field, "::placeholder");
        found.push([field.placeholder, rgba(color), behind(field)]);
    }
    return found;
}"""


def luminance(colour: list[float]) -> float:
    """Of an opaque colour, 0 (black) to 1 (white); `colour` has red, green and blue, 0 to 255."""
    red, green, blue = (_linear(part / 255) for part in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def ratio(one: list[float], other: list[float]) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


async def too_faint(page: Page) -> dict[str, float]:
    """The visible texts whose contrast is not enough, with it. Fails if there is no text at all."""
    texts: list[list[Any]] = await page.evaluate(TEXT_COLOURS)
    assert texts
    ratios = {text: round(ratio(front, back), 2) for text, front, back in texts}
    return {text: value for text, value in ratios.items() if value < ENOUGH}
