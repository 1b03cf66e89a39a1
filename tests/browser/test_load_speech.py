"""The upload button of Load InfiniteTalk Speech, in both of the editor's renderers."""

from __future__ import annotations

import pytest

from demo.base import ASSETS

ADD = """() => {
    const node = LiteGraph.createNode("InfiniteTalkLoadSpeech");
    app.graph.add(node);
    return node.widgets.map(widget => widget.name);
}"""
PRESS = """() => {
    const node = app.graph.nodes.find(node => node.type === "InfiniteTalkLoadSpeech");
    node.widgets.find(widget => widget.name === "upload").callback();
}"""
FILE = """() => app.graph.nodes.find(node => node.type === "InfiniteTalkLoadSpeech")
    .widgets.find(widget => widget.name === "file").value"""


@pytest.mark.parametrize("nodes2", [False, True], ids=["classic", "nodes2"])
def test_an_uploaded_file_is_chosen(editor, server, tmp_path, nodes2):
    file = tmp_path / f"upload_{nodes2}.flac"
    file.write_bytes((ASSETS / "speech.flac").read_bytes())
    editor.open("infinitetalk_small", nodes2)
    assert editor.page.evaluate(ADD) == ["file", "upload"]
    with editor.page.expect_file_chooser() as chooser:
        editor.page.evaluate(PRESS)
    chooser.value.set_files(file)
    editor.page.wait_for_function(f"({FILE})() === '{file.name}'")
    assert (server.base / "input" / file.name).read_bytes() == file.read_bytes()
    prompt = editor.prompt()
    assert {"file": file.name} in [node["inputs"] for node in prompt.values()]
