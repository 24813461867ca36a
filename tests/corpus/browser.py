#!/usr/bin/env python3
"""Unpacks headless Chromium into a folder: OUT/chromium, its libraries in OUT/lib, fonts in OUT/fonts.

    browser.py OUT

The browser lies inside a package of npm, which is downloaded with npm; its SHA-256 must be the pinned one. Node.js, which comes
with npm, undoes the Brotli compression.
"""

import hashlib
import os
import subprocess
import sys
import tarfile

from fetch import download

PACKAGE = {"registry": "npm", "package": "@sparticuz/chromium@153.0.0", "archive": "sparticuz-chromium-153.0.0.tgz"}
SHA256 = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
EXPAND = "const z = require('zlib'), f = require('fs'); f.writeFileSync(process.argv[2], z.brotliDecompressSync(f.readFileSync(process.argv[1])))"


def expand(archive, name, out):
    """One compressed file of the package."""
    packed = out + ".br"
    with tarfile.open(archive) as t, open(packed, "wb") as f:
        f.write(t.extractfile(f"package/bin/{name}.br").read())
    subprocess.run(["node", "-e", EXPAND, packed, out], check=True)
    os.remove(packed)


def main():
    out = sys.argv[1]
    os.makedirs(out)
    archive = download(PACKAGE, os.path.join(os.path.dirname(os.path.abspath(out)), "packages"))
    with open(archive, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    if digest != SHA256:
        sys.exit(f"{archive}: SHA-256 is {digest}, not {SHA256}")
    browser = os.path.join(out, "chromium")
    expand(archive, "chromium", browser)
    os.chmod(browser, 0o755)
    # Libraries of the system and of drawing, and a font.
    for name in ["al2023", "swiftshader", "fonts"]:
        tar = os.path.join(out, name + ".tar")
        expand(archive, name + ".tar", tar)
        with tarfile.open(tar) as t:
            t.extractall(out, filter="data")
        os.remove(tar)


if __name__ == "__main__":
    main()
