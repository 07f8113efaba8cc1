"""Draws the dashboard with Grafana's own components from a real Prometheus: ``make dashboard``.

Starts the service with the shipped models and Prometheus beside it, asks the service for about a minute, and
draws what Prometheus answers to the queries of every panel. All that is started ends with this.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Error, Route, sync_playwright

from benchmarks.servers import anyview, free_port
from monitoring.drawing.load import ask
from monitoring.drawing.prometheus import MONITORING, Range, answers, prometheus

HERE = Path(__file__).parent
DASHBOARD = MONITORING / "grafana" / "dashboards" / "anyview.json"
PICTURE = MONITORING.parent / "docs" / "dashboard.png"
ADDRESS = "http://dashboard.invalid/"
ICONS = f"{ADDRESS}public/build/img/"
COMPONENTS = "node_modules/@grafana"
WIDTH = 1600
SCRAPE_SECONDS = 2
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PROGRAMS = {
    ("npm",): "https://nodejs.org, or Debian: apt-get install npm",
    ("prometheus",): "Debian: apt-get install prometheus",
    BROWSERS: "Debian: apt-get install chromium",
}


def main(seconds: int, picture: Path) -> None:
    programs = {names: next(filter(None, map(shutil.which, names)), None) for names in PROGRAMS}
    if missing := [names for names, path in programs.items() if path is None]:
        sys.exit("\n".join(f"{names[0]} is missing: {PROGRAMS[names]}" for names in missing))
    install()
    dashboard = json.loads(DASHBOARD.read_text())
    with tempfile.TemporaryDirectory() as folder:
        script = bundled(Path(folder))
        told = observed(dashboard, seconds, Path(folder))
        content = drawn(script, told, str(programs[BROWSERS]))
    picture.write_bytes(content)
    print(f"{picture}: {len(content) // 1000} kB")


def install() -> None:
    """Grafana's components, where they are not or are older than the lock file."""
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        print("npm ci: Grafana's components, some 600 MB", flush=True)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=HERE, check=True)  # noqa: S603


def bundled(folder: Path) -> Path:
    """The components and what draws with them, as one script."""
    script = folder / "dashboard.js"
    options = ["--bundle", "--jsx=automatic", "--loader:.ttf=empty", "--log-level=error"]
    # The modules of @grafana/ui 12.1.0 lack exports that others of them import; its one file is whole.
    options += [
        f"--alias:@grafana/{name}=./{COMPONENTS}/{name}/dist/cjs/index.cjs" for name in ("data", "ui")
    ]
    options += ['--define:process.env.NODE_ENV="production"', f"--outfile={script}"]
    command = ["node_modules/.bin/esbuild", "dashboard.jsx", *options]
    subprocess.run(command, cwd=HERE, check=True)  # noqa: S603
    return script


def observed(dashboard: dict[str, Any], seconds: int, folder: Path) -> dict[str, Any]:
    """What the drawing takes: the dashboard, a range of time, and what Prometheus says of it."""
    cores = os.sched_getaffinity(0)
    with (
        anyview(None, "--default-model", "digits", cores=cores) as server,
        prometheus(f"127.0.0.1:{server.port}", free_port(), SCRAPE_SECONDS, folder) as address,
    ):
        print(f"asking for {seconds} seconds", flush=True)
        start = int(time.time())
        asyncio.run(ask(f"http://127.0.0.1:{server.port}", seconds))
        # So does Grafana, while there are fewer values than pixels.
        asked = Range(start, int(time.time()), SCRAPE_SECONDS)
        found = answers(address, dashboard, asked, SCRAPE_SECONDS)
    return {
        "dashboard": dashboard,
        "from": asked.start,
        "to": asked.end,
        "step": asked.step,
        "answers": found,
    }


def drawn(script: Path, told: dict[str, Any], browser: str) -> bytes:
    """The picture, as PNG; fails where a panel cannot be drawn."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser)
        page = chromium.new_page(viewport={"width": WIDTH, "height": 100})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(error.message))
        page.route("**", _serve)
        page.goto(ADDRESS)
        page.add_style_tag(path=script.with_suffix(".css"))
        page.add_script_tag(path=script)
        try:
            height = page.evaluate("told => drawDashboard(told)", told)
        except Error as error:
            errors.append(error.message.partition("\n    at ")[0])
        if errors:
            raise RuntimeError("\n".join(errors))
        page.set_viewport_size({"width": WIDTH, "height": height})
        content = page.screenshot()
    stream = io.BytesIO()
    # 256 colours are enough for lines, at a third of the size.
    Image.open(io.BytesIO(content)).convert("RGB").quantize().save(stream, "png", optimize=True)
    return stream.getvalue()


def _serve(route: Route) -> None:
    """An empty page and Grafana's icons; nothing from elsewhere."""
    style = "body { margin: 0; position: relative; background: #111217 }"
    if route.request.url == ADDRESS:
        route.fulfill(content_type="text/html", body=f"<!doctype html><style>{style}</style>")
    elif route.request.url.startswith(ICONS):
        route.fulfill(path=HERE / COMPONENTS / "ui/dist/public/img" / route.request.url.removeprefix(ICONS))
    else:
        route.abort()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=75, help="how long to ask the service")
    parser.add_argument("--picture", type=Path, default=PICTURE, help="where to draw")
    arguments = parser.parse_args()
    # What is started ends with this, also when it is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    try:
        main(arguments.seconds, arguments.picture)
    except KeyboardInterrupt:
        sys.exit(130)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")
