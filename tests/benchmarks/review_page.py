"""The speed of the review page with 5,000 suspects: ``python tests/benchmarks/review_page.py``.

The suspects are pairs of recordings with spectrograms, sounds, strips and reasons, shown in a real Chromium.
First screen: from the request until the card and pictures of the first suspect are shown. Next: from a key press until
the card and pictures of the next suspect are shown. Keys that decide are measured too, and so is the time until a
decision is on the disk. Each key is pressed after the last card is complete and the last decision is written, as by a
person who looks at the card; faster presses would show cards that are not prepared yet. The browser measures the times.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from selenium import webdriver

sys.path[:0] = [str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])]

from review_project import make_review  # noqa: E402  it lies beside the tests

from tracinctl.review.decisions import read_decisions  # noqa: E402
from tracinctl.review.serving import serve_review  # noqa: E402

FIRST_LIMIT, NEXT_LIMIT = 1000, 100
"""Limits in milliseconds."""

_ITEMS = 500
"""Enough recordings that nearly every suspect has pictures that were not shown before."""

COMPLETE = """
const images = [...document.querySelectorAll("#card img")];
return images.length > 0 && images.every((image) => image.complete && image.naturalWidth > 0);
"""
# wait for the next suspect and its pictures; checked at every frame of the screen
NEXT = """
const [key, done] = arguments, before = document.body.dataset.suspect;
let start = 0;
const look = () => {
  const images = [...document.querySelectorAll("#card img")];
  const drawn = images.every((image) => image.complete && image.naturalWidth);
  const there = drawn && document.body.dataset.suspect !== before;
  there ? done(performance.now() - start) : requestAnimationFrame(look);
};
const press = () => {
  if (writing) return requestAnimationFrame(press);
  start = performance.now();
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  look();
};
press();
"""
# wait until a decision is on the disk; until then, the page refuses another one
WRITTEN = """
const [key, done] = arguments, start = performance.now();
document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const look = () => {
  if (writing) return requestAnimationFrame(look);
  done(performance.now() - start);
};
look();
"""


def serve(folder: Path, suspects: int, addresses: multiprocessing.Queue) -> None:
    """Serve a review until the process ends."""
    serve_review(make_review(folder, suspects, [f"tone_{k:03}" for k in range(_ITEMS)]), addresses.put)


def chromium(folder: Path) -> webdriver.Chrome:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"):
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def first_screen(browser: webdriver.Chrome, address: str) -> float:
    """Milliseconds from the request until the first card is complete."""
    browser.get("about:blank")
    browser.get(address)
    while not browser.execute_script(COMPLETE):
        pass
    return float(
        browser.execute_script(
            "return Math.max(...performance.getEntriesByType('resource').map((entry) => entry.responseEnd))"
        )
    )


def timed(browser: webdriver.Chrome, script: str, keys: str) -> list[float]:
    """Milliseconds from each key press until the script's condition holds."""
    return [float(browser.execute_async_script(script, key)) for key in keys]


def shown(name: str, times: list[float], limit: int) -> bool:
    """Print a line; return whether the slowest time is within the limit."""
    worst = max(times)
    verdict = "within" if worst <= limit else "beyond"
    middle = statistics.median(times)
    print(f"{name:28} median {middle:6.1f} ms  slowest {worst:6.1f} ms  {verdict} {limit} ms  n {len(times)}")
    return worst <= limit


def main() -> None:
    """Measure and print; the exit status is 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suspects", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, context = Path(place), multiprocessing.get_context("spawn")
        addresses = context.Queue()
        process = context.Process(target=serve, args=(folder / "project", options.suspects, addresses), daemon=True)
        process.start()
        browser = chromium(folder / "browser")
        try:
            address = addresses.get(timeout=120)
            browser.set_script_timeout(60)
            first = [first_screen(browser, address)]
            first += [first_screen(browser, address.partition("?")[0]) for _ in range(4)]
            fine = [shown("first screen", first, FIRST_LIMIT)]
            fine.append(shown("next", timed(browser, NEXT, "n" * options.steps), NEXT_LIMIT))
            fine.append(shown("decide and next", timed(browser, NEXT, "lktu" * (options.steps // 4)), NEXT_LIMIT))
            browser.execute_script("document.getElementById('show-list').click()")
            fine.append(
                shown("decide, with the list open", timed(browser, NEXT, "lktu" * (options.steps // 4)), NEXT_LIMIT)
            )
            fine.append(shown("a decision is written", timed(browser, WRITTEN, "l" * options.steps), NEXT_LIMIT))
            written = len(read_decisions(folder / "project" / "reviews" / "plastic_500hz_review.csv"))
            print(f"{written} decisions are in the file, of {2 * (options.steps // 4 * 4) + options.steps} made")
        finally:
            browser.quit()
            process.kill()
            process.join()
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
