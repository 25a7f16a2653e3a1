"""What to call a device whose owner has given it no name."""

from __future__ import annotations

# Browsers name themselves after each other: the first that fits is the one.
BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "Firefox/": "Firefox",
    "Chrome/": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "Windows": "Windows",
    "Mac OS": "Mac",
    "CrOS": "ChromeOS",
    "Linux": "Linux",
}


def device(user_agent: str | None) -> str:
    """Such as ``Firefox on Windows``: as well as can be told from what a browser says of itself."""
    said = user_agent or ""
    browser = next((name for mark, name in BROWSERS.items() if mark in said), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in said), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "Unknown device"
