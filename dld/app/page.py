"""The page: gradio's components around a :class:`~dld.app.reader.Reader`.

Nothing on it comes from another host: no web fonts, no analytics, no share link.
"""

from __future__ import annotations

import os
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from dld.app.reader import CHOICES, Answer, Reader

if TYPE_CHECKING:
    import gradio

__all__ = ["answer_html", "build_page", "import_gradio", "launch_page", "words_html"]

SYSTEM_FONTS = ["system-ui", "Segoe UI", "Roboto", "sans-serif"]
MAX_UPLOAD = "100mb"

STYLE = """
footer { display: none !important; }
.dld-figures { display: flex; flex-wrap: wrap; gap: .5rem 1.6rem; margin: 0; }
.dld-figures dt { font-size: .8rem; opacity: .75; }
.dld-figures dd { margin: 0; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.dld-note { margin: .6rem 0 0; opacity: .85; }
.dld-error { padding: .7rem 1rem; border-left: 4px solid #d3203a; background: rgb(211 32 58 / .1); overflow-wrap: anywhere; }
.dld-words { max-height: 26rem; overflow: auto; }
.dld-words table { width: 100%; border-collapse: collapse; }
.dld-words :is(table, tr, th, td) { border: 0 !important; background: none; }
.dld-words :is(th, td) { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid rgb(128 128 128 / .3) !important; }
.dld-words td:first-child { overflow-wrap: anywhere; }
.dld-words :is(th, td):last-child { text-align: right; font-variant-numeric: tabular-nums; width: 6rem; }
"""


def import_gradio() -> Any:
    """Import gradio, told to send nothing home.

    Raises:
        ImportError: it is not installed; the message says how to install it.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio
    except ImportError as error:
        raise ImportError(f'the page needs gradio ({error}): pip install "dld[app]"') from error
    return gradio


def build_page(reader: Reader) -> gradio.Blocks:
    """Build the page; `launch_page` serves it."""
    gr = import_gradio()

    names = list(reader.weights)
    with gr.Blocks(title="DLD text spotter", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# Text spotter\nDrop a picture, and move the budget: how few computations do its words need?")
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                picture = gr.Image(
                    label="Picture",
                    sources=["upload", "clipboard"],
                    type="filepath",
                    buttons=[],
                    height=300,
                    elem_id="picture",
                )
                # the file as it is: the spotter reads more kinds than gradio, and says what is wrong with a file
                picture.preprocess = lambda payload: None if payload is None else payload.path
                weights = gr.Dropdown(names, value=names[0], label="Weights", elem_id="weights")
                choice = gr.Radio(list(CHOICES), value=CHOICES[0], label="Scale", elem_id="choice")
                budget = gr.Slider(
                    0.05, 1, value=0.6, step=0.05, label="Budget", info="share of the teacher's cost", elem_id="budget"
                )
                scale = gr.Slider(
                    0.2, 1, value=0.5, step=0.05, label="Fixed scale", info="share of full resolution", elem_id="scale"
                )
            with gr.Column(scale=3, min_width=300):
                drawn = gr.Image(
                    label="Words",
                    show_label=False,
                    interactive=False,
                    format="jpeg",
                    buttons=["download", "fullscreen"],
                    elem_id="drawn",
                )
                told = gr.HTML(elem_id="told")
                words = gr.HTML(elem_id="words")

        def show(path, name, choice, budget, scale, chosen=None):
            how = chosen or choice
            answer = reader.read(path, name, how, budget, scale)
            return how, answer.picture, answer_html(answer), words_html(answer)

        inputs, outputs = [picture, weights, choice, budget, scale], [choice, drawn, told, words]
        # if a slider moves several times during a reading, only its last position is read next
        common = {
            "inputs": inputs,
            "outputs": outputs,
            "trigger_mode": "always_last",
            "concurrency_id": "read",
            "concurrency_limit": 1,
            "api_visibility": "private",
            "show_progress_on": drawn,
        }
        for event in (picture.change, weights.input, choice.input):
            event(show, **common)
        budget.input(partial(show, chosen="budget"), **common)
        scale.input(partial(show, chosen="fixed scale"), **common)
    return page


def launch_page(page: gradio.Blocks, host: str, port: int | None) -> str:
    """Serve the page in the background; return its address.

    Args:
        port: None: the first free one from 7860 on.

    Raises:
        OSError: the port is taken.
    """
    gr = import_gradio()
    # gradio asks its own server whether it is there: not through a proxy
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost", host)))
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=False,
        show_error=True,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=MAX_UPLOAD,
        css=STYLE,
        theme=gr.themes.Default(
            primary_hue="blue", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=["ui-monospace", "monospace"]
        ),
    )
    return address


def answer_html(answer: Answer) -> str:
    """Format figures and notes of a reading, or what is wrong; texts escaped."""
    if answer.error:
        return f'<p class="dld-error" role="alert">{escape(answer.error)}</p>'
    if answer.picture is None:
        return '<p class="dld-note">The words appear here.</p>'
    figures = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in answer.figures)
    notes = "".join(f'<p class="dld-note">{escape(note)}</p>' for note in answer.notes)
    return f'<dl class="dld-figures">{figures}</dl>{notes}'


def words_html(answer: Answer) -> str:
    """Make the table of the words; texts escaped."""
    if answer.picture is None:
        return ""
    if not answer.words:
        return '<p class="dld-note">No words were found.</p>'
    lines = "".join(f"<tr><td><bdi>{escape(w.text)}</bdi></td><td>{w.score:.2f}</td></tr>" for w in answer.words)
    return f'<div class="dld-words" tabindex="0"><table><tr><th>Word</th><th>Score</th></tr>{lines}</table></div>'
