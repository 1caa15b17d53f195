"""What `mkdocs` does beside the pages of docs/: README and CONTRIBUTING become pages, and links fit the site."""

import json
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
FIRST = ("commands.md", "web.md", "python.md", "edit_a_photo.md", "models.md", "your_own_images.md")
"""Of the guides; the others follow by name."""
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>(?!https?:|#|mailto:)[^)#\s]+)(?P<anchor>#[^)]*)?\)")


def on_config(config: Any) -> Any:
    """List the pages: every file of docs/ is a guide, and every file of docs/api/ a page of the reference."""
    guides = sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    ordered = [*(name for name in FIRST if name in guides), *(name for name in guides if name not in FIRST)]
    reference = sorted(path.name for path in (ROOT / "docs" / "api").glob("*.md"))
    config.nav = [
        {"Start": "index.md"},
        {"Guides": [*ordered, *(f"notebooks/{path.stem}.md" for path in notebooks())]},
        {"Reference": [f"api/{name}" for name in reference]},
        {"Contributing": ["contributing.md", "changelog.md"]},
    ]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie at the top of the repository."""
    for name, page in PAGES.items():
        if (ROOT / name).is_file():
            text = (ROOT / name).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=_with_links(text, ROOT)))
    for path in notebooks():
        page = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, page, content=_with_links(as_page(path), path.parent, Path(page).parent)))
    return files


def notebooks() -> list[Path]:
    """Return the notebooks, each of which becomes a page beside the file itself."""
    return sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


def as_page(path: Path) -> str:
    """Return a notebook as Markdown, with the texts and pictures that its cells returned."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
        for data in (output["data"] for output in cell.get("outputs", ()) if "data" in output):
            if "image/jpeg" in data:
                parts.append(
                    f'<img alt="the picture" src="data:image/jpeg;base64,{"".join(data["image/jpeg"]).strip()}">'
                )
            else:
                parts.append("```text\n" + "".join(data["text/plain"]) + "\n```")
    return "\n\n".join(parts)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the links of a page lead to pages of the site."""
    if page.file.generated_by is not None:
        return markdown  # `on_files` did it
    return _with_links(markdown, Path(page.file.abs_src_path).parent, Path(page.file.src_uri).parent)


def _with_links(markdown: str, folder: Path, place: Path = Path()) -> str:
    """Rewrite links to files: of docs/ as the site has them; others, such as source code, become their text."""

    def rewritten(found: re.Match) -> str:
        target = (folder / found["target"]).resolve()
        if not target.is_relative_to(ROOT):
            return found[0]
        name = target.relative_to(ROOT).as_posix()
        up = "../" * len(place.parts)
        if name in PAGES:
            return f"{found['image']}[{found['text']}]({up}{PAGES[name]}{found['anchor'] or ''})"
        if name.startswith("docs/") and not name.startswith("docs/examples/"):
            return f"{found['image']}[{found['text']}]({up}{name.removeprefix('docs/')}{found['anchor'] or ''})"
        return found["text"]

    return LINK.sub(rewritten, markdown)


def on_post_page(output: str, **_: Any) -> str:
    """Leave out the one script that a page would ask a server for, a shim for searching in a site opened as files."""
    return re.sub(r'<script[^>]*src="?https?://[^>]*></script>', "", output)


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same to the page that says that there is none."""
    return on_post_page(output_content)
