"""How the package is laid out: small folders, no import circles, a test file for each module."""

import ast
import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vit_keras"

KNOWN_CIRCLES: set[frozenset[str]] = {
    frozenset({"data.doctor.checkup", "data.doctor.report"}),
    frozenset({"training.class_order", "training.preparing", "training.recipes.recipe"}),
    frozenset(
        {
            "training.finetuning", "training.planning", "training.recipes", "training.recipes.finetuning",
            "training.recipes.named_recipe", "training.recipes.scratch",
        }
    ),
}  # fmt: skip
"""Sets of modules that import each other; to be broken, until this is empty."""

TESTED_ELSEWHERE = {
    ("cli", "the commands' tests call `main`"): """
        catalog compiling output recipes runs
    """,
    ("costs", "tests/test_config.py compares them with built models and published numbers"): """
        costs
    """,
    ("data", "the tests of `vk.data.load` and of the doctor use them"): """
        augment.training_image dataset.holdout dataset.pool_worker dataset.splits doctor.charts doctor.findings
        images.cache images.read_options images.signatures images.thumbnails scan.progress scan.worker
        sources.class_names sources.pixel_range sources.split_names sources.tfds
    """,
    ("errors", "tests/test_public_names.py checks all classes"): """
        errors
    """,
    ("evaluation", "the tests of training and of the command line use it"): """
        evaluate
    """,
    ("explain", "the tests of the maps and of the anatomy page use them"): """
        anatomy_numbers anatomy_report anatomy_sources anatomy_steps anatomy_words attention block_features drawing
        gradients recording relevance rollout
    """,
    ("layers", "tests/contracts.py checks the base classes on every layer; adapters are tested with `add_lora`"): """
        adapted_block base.base_layer base.composite_layer
    """,
    ("models", "tests of built, loaded and compiled models in tests/models and tests/faults"): """
        architecture comparison first_batch graph output_kind own_head wiring
    """,
    ("presets", "a dataclass; tests/presets/test_catalog.py checks its values"): """
        preset
    """,
    ("registration", "tests/models/test_vit.py loads files in new processes"): """
        registration
    """,
    ("reporting", "the tests of the reports read the pages"): """
        charts pages text
    """,
    ("runtime", "their callers' tests use them"): """
        cpu devices files precision processes strict_json tensorflow_host
    """,
    ("synonyms", "tests/faults checks the messages"): """
        synonyms
    """,
    ("training", "the tests of runs, recipes and checkpoints use them"): """
        callbacks.divergence callbacks.epoch_clock callbacks.history callbacks.monitoring callbacks.moving_average
        callbacks.snapshots checkpoints.callback checkpoints.folder class_order losses.metrics memory optim.kernels
        optim.replicas optim.schedules preparing recipes.clock recipes.finetuning recipes.named_recipe recipes.recipe
        recipes.scratch runs.charts runs.directory runs.facts runs.figures runs.random_state runs.repeating runs.session
        speed transfer.feature_checks transfer.penalty_search transfer.softmax_regression
    """,
    ("tuning", "the tests of searches use them"): """
        oracle report.charts report.page report.progress searching space.candidates space.hypermodel space.latency
        space.limits space.searchable strategy.budget strategy.halving strategy.sampling strategy.stopping
        strategy.surrogate workers.runner workers.shipping workers.traced workers.worker
    """,
    ("validation", "tests/test_config.py and its doctests"): """
        validation
    """,
    ("version", "tests/test_public_names.py"): """
        version
    """,
    ("weights", "the tests of loading and writing use them"): """
        adapt.inferred_sizes adapt.options classes download.transfer download.urls formats.npz formats.opening
        formats.safetensors formats.sharded head_features mappings.google mappings.layouts mappings.meta mappings.native
        mappings.pixel_statistics mappings.sources mappings.tables mappings.timm peers settings.huggingface
        settings.read settings.timm steps writers.huggingface_config writers.huggingface_preprocessor
        writers.requirements writers.resizing_rule writers.timm_config
    """,
    ("zoo", "the tests of preset directories read the cards"): """
        card
    """,
}
"""Modules without a test file at the mirrored path, by folder, and why. Remove those that get one."""


def modules() -> dict[str, Path]:
    """Returns every module's file by its dotted name below `vit_keras`; packages by the name of their folder."""
    found = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> set[tuple[str, str]]:
    """Returns what a file imports, at any level and under TYPE_CHECKING, too: modules, and names in them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def import_graph() -> dict[str, set[str]]:
    """Returns the modules that each module imports. A package's name counts as the module that defines it, unless it is lazy."""
    known = modules()
    packages = {name: imports(file) for name, file in known.items() if file.name == "__init__.py"}
    lazy = {name for name in packages if known[name].with_suffix(".pyi").is_file()}

    def resolve(module: str, name: str) -> str | None:
        if f"{module}.{name}" in known:
            return None if f"{module}.{name}" in packages else f"{module}.{name}"
        if module in packages:
            sources = [source for source, item in packages[module] if item == name and source in known]
            return sources[0] if sources else None if module in lazy or not name else module
        return module if module in known else None

    graph = {}
    for name, file in known.items():
        graph[name] = {resolve(*each) for each in imports(file)} - {None, name}
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Returns the sets of modules that can be reached from each other."""

    def reach(start: str) -> set[str]:
        reached, waiting = set(), [start]
        while waiting:
            for each in graph[waiting.pop()] - reached:
                reached.add(each)
                waiting.append(each)
        return reached

    reached = {name: reach(name) for name in graph}
    return {
        frozenset(other for other in reached[name] if name in reached[other]) for name in graph if name in reached[name]
    }


def test_no_folder_holds_more_than_16_files():
    counts = {folder: len(list(folder.glob("*.py"))) - 1 for folder in {file.parent for file in modules().values()}}
    assert {str(folder.relative_to(ROOT)): count for folder, count in counts.items() if count > 16} == {}


def test_every_folder_with_python_files_is_a_package():
    assert [file for file in PACKAGE.rglob("*.py") if not (file.parent / "__init__.py").is_file()] == []


def test_no_files_import_each_other_in_a_circle():
    short = {frozenset(name.removeprefix("vit_keras.") for name in circle) for circle in circles(import_graph())}
    assert short == KNOWN_CIRCLES


def test_every_module_has_its_test_file():
    missing = {
        name.removeprefix("vit_keras.")
        for name, file in modules().items()
        if file.name != "__init__.py"
        and not (ROOT / "tests" / file.relative_to(PACKAGE).parent / f"test_{file.name.lstrip('_')}").is_file()
    }
    allowed = {
        f"{room}.{name}" if name != room else name
        for (room, _), names in TESTED_ELSEWHERE.items()
        for name in names.split()
    }
    assert missing == allowed


def test_the_page_of_the_architecture_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("write_architecture", ROOT / "scripts" / "write_architecture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text("utf-8") == script.architecture(), "run scripts/write_architecture.py"
