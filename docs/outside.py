"""For MkDocs: files outside docs/ that pages link to come along, and links to them are led there.

In the repository pages link to ../results/ablation.json; on the site the same file lies at
results/ablation.json. `mkdocs build --strict` then checks these links as it checks all others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = re.compile(r"\]\(\.\./(?=results/|android_demo/|models/|README)")


def on_files(files: Files, config: Any) -> Files:
    """Result files as they are; the pages beside them as pages."""
    for pattern in ("results/*", "android_demo/README.md", "models/README.md"):
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    if page.file.src_uri.count("/") == 0:
        return OUTSIDE.sub("](", markdown)
    return markdown.replace("](../docs/", "](../")
