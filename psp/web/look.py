"""Design of the page: system fonts, one accent colour, and space around the images."""

import gradio as gr

FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
FIXED_FONTS = ["ui-monospace", "Menlo", "Consolas", "monospace"]

HEADER = """
<header class="psp-header">
  <h1>A face from a few numbers</h1>
  <p>Give a photograph: its face is found, turned into a few numbers, and drawn again from them. Change the numbers, and
  the face changes. Nothing leaves the machine that serves this page.</p>
</header>
"""

CSS = """
.gradio-container { max-width: 1280px !important; margin: 0 auto !important; padding: 0 1.5rem 2rem !important; }
.psp-header { padding: 0.8rem 0 0.2rem; }
.psp-header h1 { font-size: 1.8rem; font-weight: 650; letter-spacing: -0.02em; margin: 0 0 0.3rem; }
.psp-header p { max-width: 48rem; margin: 0; line-height: 1.55; color: var(--body-text-color-subdued); }
.html-container:has(.psp-header) { padding: 0 !important; }
.psp-help .md p { margin: 0; line-height: 1.5; color: var(--body-text-color-subdued); }
.block.psp-message { border-left: 3px solid var(--color-accent) !important; padding: 0.55rem 0.9rem !important;
  background: var(--color-accent-soft); }
.block.psp-message .md p { margin: 0; line-height: 1.45; }
.block.psp-footer .md p { margin: 0; font-size: 0.82rem; color: var(--body-text-color-subdued); }
.psp-gallery .grid-wrap { min-height: 0 !important; }

/* Titles stand above pictures, not on them. */
.block:has(> [data-testid="block-label"]) { padding-top: 2.1rem !important; }
[data-testid="block-label"] { top: 0.35rem !important; left: 0.35rem !important; border: none !important;
  box-shadow: none !important; background: none !important; font-weight: 500 !important; }
[data-testid="block-label"] > span { display: none; }
.block.psp-result .icon-button-wrapper.top-panel { box-shadow: none !important;
  background: none !important; border: none !important; }
.block.psp-result .icon-button-wrapper.top-panel { top: -1.95rem !important; }
"""


def theme() -> gr.themes.Base:
    """Build the theme of the page, which uses system fonts; Gradio's own theme loads a font from Google."""
    return gr.themes.Soft(
        primary_hue="teal",
        secondary_hue="teal",
        neutral_hue="stone",
        font=FONTS,
        font_mono=FIXED_FONTS,
        radius_size="sm",
    ).set(
        body_background_fill="#faf9f7",
        body_text_color_subdued="*neutral_500",
        block_shadow="none",
        block_border_width="1px",
        block_border_color="*neutral_200",
        block_label_text_color="*neutral_600",
        block_title_background_fill="none",
        block_title_padding="0",
        block_title_text_color="*neutral_600",
        block_title_text_weight="500",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_shadow="none",
        button_secondary_background_fill="*neutral_100",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_shadow="none",
        checkbox_label_background_fill_selected="*primary_700",
        checkbox_label_shadow="none",
        checkbox_background_color_selected="*primary_900",
        color_accent="*primary_700",
        slider_color="*primary_600",
    )
