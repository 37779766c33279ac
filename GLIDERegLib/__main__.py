from GLIDERegLib.cli import run

run()
