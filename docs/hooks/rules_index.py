"""mkdocs hook: the index of the rules is made from their registration, so that it cannot forget one."""

from mkdocs.structure.files import File

GROUPS = {
    "1": "Optimisation",
    "2": "Generalisation",
    "3": "Classes",
    "4": "CTC",
    "5": "Pretraining and resuming",
    "6": "Data and evaluation",
    "7": "Loop and logging",
}


def on_files(files, config):
    """Add rules/index.md."""
    if files.get_file_from_path("rules/index.md") is None:
        files.append(File.generated(config, "rules/index.md", content=index()))
    return files


def index():
    """One table per group of codes: code, name, what it is."""
    from lightning_diag.rules import RULES

    lines = ["# Rules", "", "`lightning-diag explain CODE` prints a page in the terminal."]
    for digit, title in GROUPS.items():
        rules = sorted((r for r in RULES if r.code[2] == digit), key=lambda r: r.code)
        if rules:
            lines += ["", f"## {title}", "", "| code | finding | what it is |", "|---|---|---|"]
            lines += [f"| [{r.code}]({r.code}.md) | {r.name.replace('-', ' ')} | {_first(r)} |" for r in rules]
    return "\n".join(lines) + "\n"


def _first(rule):
    return (rule.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
