import pytest

pytest.importorskip("slicer")


@pytest.mark.parametrize(
    ("message", "hint", "code", "said"),
    [
        (
            "The scans do not overlap",
            "Align them.",
            "no-overlap",
            "The scans do not overlap. Choose another Pre-",
        ),
        ("The device is gone.", "Choose cpu.", "device", "The device is gone. Choose another Device."),
        ("It is damaged", "Copy it.", "file-damaged", "It is damaged. Copy it."),
        ("It failed.", "", "internal", "It failed."),
    ],
)
def test_an_error_is_worded_in_the_panels_own_terms(slicerHost, message, hint, code, said):
    from GLIDERegLib.panel.remedies import worded

    assert worded(message, hint, code).startswith(said)
