"""The report in a real browser: it renders, fetches nothing, and suits phones, dark mode and print."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.browser import WHY_NOT, console, open_browser, requests, show
from support.made_up import make_up

from vmafarm.publish import examine

if TYPE_CHECKING:
    from selenium import webdriver

CSS = "css selector"  # of selenium, which takes long to import

pytestmark = [pytest.mark.full, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_up(tmp_path_factory.mktemp("browser"), 100)
    examine(run.config, lambda _: None, page=run.folder.report)
    return run.folder.report


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    with open_browser() as driver:
        yield driver


def test_it_renders_without_console_messages_or_further_requests(driver, page: Path) -> None:
    requests(driver)
    show(driver, page, 1000)
    assert console(driver) == []
    assert {address for address in requests(driver) if not address.startswith("data:")} == {page.as_uri()}
    assert driver.find_element(CSS, "h1").text == "demo"
    figures = driver.find_elements(CSS, "figure svg")
    assert len(figures) == 12
    assert all(figure.size["width"] > 200 and figure.size["height"] > 80 for figure in figures)


@pytest.mark.parametrize("width", [320, 360, 1000, 1280])
def test_it_fits_the_window(driver, page: Path, width: int) -> None:
    show(driver, page, width)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_the_text_of_figures_can_be_read(driver, page: Path, width: int) -> None:
    show(driver, page, width)
    heights = driver.execute_script(
        "return [...document.querySelectorAll('figure svg text')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 11


def test_every_link_leads_to_its_section(driver, page: Path) -> None:
    show(driver, page, 1000)
    links = driver.find_elements(CSS, "nav a")
    assert len(links) == 6
    for link in links:
        link.click()
        target = driver.find_element(CSS, ":target")
        assert target.get_attribute("id") == link.get_attribute("href").partition("#")[2]


def colours(driver: webdriver.Chrome) -> list[str]:
    """Return the colours of page, text and the first bar of a histogram."""
    return driver.execute_script(
        "const style = e => getComputedStyle(e);"
        "const bar = document.querySelector('figure svg [style*=\"--bar\"]');"
        "const page = style(document.documentElement);"
        "return [page.backgroundColor, page.color, style(bar).fill]"
    )


def test_dark_mode_has_its_own_colours_in_the_figures_too(driver, page: Path) -> None:
    show(driver, page, 1000)
    light = colours(driver)
    show(driver, page, 1000, dark=True)
    dark = colours(driver)
    assert light[0] == "rgb(255, 255, 255)"
    assert all(one != other for one, other in zip(light, dark, strict=True))


def test_print_has_no_navigation(driver, page: Path) -> None:
    show(driver, page, 800, print_it=True)
    assert not driver.find_element(CSS, "nav").is_displayed()
    assert driver.find_element(CSS, "h1").is_displayed()


def test_the_keyboard_reaches_the_content_and_the_tables_that_scroll(driver, page: Path) -> None:
    show(driver, page, 360)
    reached = driver.execute_script("return [...document.querySelectorAll('a, summary, [tabindex]')].length")
    assert reached > 20
    scrolling = driver.execute_script(
        "return [...document.querySelectorAll('*')].filter(e => e.scrollWidth > e.clientWidth + 1 "
        "&& ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0).length"
    )
    assert scrolling == 0
