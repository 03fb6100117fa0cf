"""Uses the page of tools/demo_app.py in headless Chromium, as a visitor would.

    python tests/demo/in_chromium.py [--screenshot demo.png]      # or: make demo-test

Needs Chromium with its driver: `apt-get install chromium chromium-driver`. Nothing but the page's
own server can be reached from that browser.
"""

import argparse
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

ROOT = Path(__file__).parents[2]
PATIENCE = 300  # seconds, for a machine with other work
TAB = 'button[@role="tab"]'


class Visit:
    """The page in a browser."""

    def __init__(self, browser: webdriver.Chrome):
        self.browser = browser

    def wait_until(self, true: Callable[[], bool], complaint: str) -> None:
        WebDriverWait(self.browser, PATIENCE).until(lambda _: true(), complaint)

    def see(self, part: str, text: str) -> None:
        """Wait until a part of the page holds a text."""
        self.wait_until(lambda: text in self.text(part), f'#{part} never said {text!r}.')

    def text(self, part: str) -> str:
        # By script, as a part can be replaced between finding and reading it.
        return self.browser.execute_script(
            'return document.getElementById(arguments[0])?.innerText ?? ""', part
        )

    def picture(self) -> str:
        """Where the drawn picture is; another one, another place."""
        return self.browser.execute_script(
            'return document.querySelector("#picture img")?.src ?? ""'
        )

    def see_another_picture(self, than: str) -> None:
        self.wait_until(lambda: self.picture() not in ('', than), 'The picture never changed.')

    def slide(self, part: str, *keys: str) -> None:
        self.browser.find_element(By.CSS_SELECTOR, f'#{part} input[type=range]').send_keys(*keys)

    def click(self, text: str, kind: str) -> None:
        self.browser.find_element(By.XPATH, f'//{kind}[normalize-space()="{text}"]').click()


def first_sight(visit: Visit) -> None:
    visit.see('cost', '8 of 529 cells')
    visit.see('cost', '15,939,372')
    visit.see('cost', 'milliseconds')
    visit.see('labels', '%')
    visit.see_another_picture('')


def fewer_patches_cost_less(visit: Visit) -> None:
    before = visit.picture()
    visit.slide('k', Keys.HOME)
    visit.see('cost', '0 of 529 cells')
    visit.see('cost', '10,082,604')
    visit.see_another_picture(before)
    visit.slide('k', *[Keys.ARROW_RIGHT] * 3)
    visit.see('cost', '3 of 529 cells')


def a_threshold_above_the_entropy_takes_no_patches(visit: Visit) -> None:
    visit.click('by uncertainty', 'label')
    visit.wait_until(lambda: visit.text('threshold'), 'There is no slider of the threshold.')
    visit.slide('threshold', Keys.END)
    visit.see('cost', '0 of 529 cells')
    visit.click('the same for every image', 'label')
    visit.see('cost', '3 of 529 cells')


def another_test_image_is_another_picture(visit: Visit) -> None:
    before = visit.picture()
    visit.browser.find_element(By.ID, 'another').click()
    visit.see_another_picture(before)


def a_drawn_digit_is_recognised(visit: Visit) -> None:
    visit.click('Draw', TAB)
    visit.see('cost', 'Nothing to look at yet')

    def stroke() -> bool:
        """A one of a quarter of the board, as long as the digits of the training images."""
        board = visit.browser.find_element(By.CSS_SELECTOR, '#board canvas')
        scale = board.size['width'] / 400
        mouse = ActionChains(visit.browser, duration=50)
        mouse.move_to_element_with_offset(board, round(10 * scale), round(-35 * scale))
        mouse.click_and_hold()
        for _ in range(8):
            mouse.move_by_offset(round(-2 * scale), round(9 * scale))
        mouse.release().perform()
        time.sleep(5)
        return '3 of 529 cells' in visit.text('cost')

    # The board takes no strokes before it is laid out, and the same stroke again does no harm.
    visit.wait_until(stroke, 'The board takes no strokes.')
    visit.see('labels', '1 - one')
    visit.wait_until(
        lambda: max(map(int, re.findall(r'(\d+)%', visit.text('labels')))) > 50,
        'It is not sure of a plain stroke.',
    )


def an_upload_is_looked_at_in_its_own_size(visit: Visit) -> None:
    visit.click('Image', TAB)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'upload.png')
        Image.fromarray(np.full((111, 203), 90, np.uint8)).save(path)
        upload = WebDriverWait(visit.browser, PATIENCE).until(
            lambda browser: browser.find_element(By.CSS_SELECTOR, '#image input[type=file]')
        )
        upload.send_keys(str(path))
        visit.see('cost', f'3 of {26 * 49} cells')  # of 11 pixels, 4 from one to the next


STEPS = (
    first_sight,
    fewer_patches_cost_less,
    a_threshold_above_the_entropy_takes_no_patches,
    another_test_image_is_another_picture,
    a_drawn_digit_is_recognised,
    an_upload_is_looked_at_in_its_own_size,
)


def open_browser(folder: str) -> webdriver.Chrome:
    found = {name: shutil.which(name) for name in ('chromium', 'chromedriver')}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise SystemExit(
            f'{" and ".join(missing)} not found: the test of the page needs '
            '`apt-get install chromium chromium-driver`.'
        )
    options = webdriver.ChromeOptions()
    options.binary_location = found['chromium']
    for argument in (
        '--headless=new',
        '--no-sandbox',
        '--disable-dev-shm-usage',
        '--window-size=1300,1000',
        f'--user-data-dir={folder}',
        '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
    ):
        options.add_argument(argument)
    options.set_capability('goog:loggingPrefs', dict(browser='ALL'))
    return webdriver.Chrome(options, Service(found['chromedriver']))


def wait_for_page(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + PATIENCE
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(('127.0.0.1', port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit('tools/demo_app.py serves no page.')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--screenshot', type=Path, metavar='FILE.png', help='write what is to be seen at first'
    )
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = open_browser(folder)
        server = subprocess.Popen(
            [sys.executable, 'tools/demo_app.py', '--port', str(port)], cwd=ROOT
        )
        try:
            wait_for_page(port, server)
            browser.get(f'http://127.0.0.1:{port}')
            visit = Visit(browser)
            for step in STEPS:
                step(visit)
                print(f'passed: {step.__name__.replace("_", " ")}', flush=True)
                if args.screenshot:
                    name = args.screenshot.stem if step is STEPS[0] else step.__name__
                    browser.save_screenshot(str(args.screenshot.with_stem(name)))
            errors = [
                entry['message']
                for entry in browser.get_log('browser')
                if entry['level'] == 'SEVERE'
            ]
            if errors:
                raise SystemExit('The page has errors:\n' + '\n'.join(errors))
        finally:
            browser.quit()
            server.terminate()
            server.wait()
    print(f'{len(STEPS)} passed')


if __name__ == '__main__':
    main()
