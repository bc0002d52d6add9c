"""read_data: the datasets and loaders of an MMAction2 config as keys of a recipe."""

from tsn_tsm_plugin.migrate.mmaction2.pipeline import read_pipelines
from tsn_tsm_plugin.migrate.mmaction2.settings import (
    Settings,
    at,
    ignore,
    pop_number,
    pop_typed,
    report_unconverted,
    section,
)
from tsn_tsm_plugin.migrate.recipe import Recipe

_TYPES = ("RawframeDataset", "VideoDataset")
# Settings that two lists of one DATA.FORMAT share.
_STORAGE = ("type", "filename_tmpl", "start_index")
# Remedies for a training list that is stored in another way than the first list.
_REMEDIES = {
    "ImageDataset": "make videos of one frame of its images, and add their list to DATA.FURTHER_TRAIN_LISTS",
    "RawVideoDataset": (
        "write a line `FOLDER/CLIP label` for each positive clip, and add the list to "
        "DATA.FURTHER_TRAIN_LISTS"
    ),
}
_REMEDY = "store its videos as the first list's videos are, and add the list to DATA.FURTHER_TRAIN_LISTS"
# Settings of loaders without effect on a recipe.
_OF_A_LOADER = ("persistent_workers", "pin_memory", "prefetch_factor")
_OF_A_TEST_LOADER = ("batch_size", "num_workers", "videos_per_gpu", "workers_per_gpu", *_OF_A_LOADER)


def read_data(settings: Settings, recipe: Recipe, *, num_gpus: int) -> None:
    """Read datasets, loaders and pipelines of 0.x (``data``) and 1.x (``train_dataloader``).

    Args:
        settings: Settings of the config; converted ones are removed.
        recipe: Receives keys and notes.
        num_gpus: The config holds the batch of one GPU.
    """
    data, loader = section(settings, "data"), section(settings, "train_dataloader")
    _read_loader(data, loader, recipe, num_gpus)
    # A published config has the pipeline beside the dataset instead of in it.
    ignore(section(settings, "test_dataloader"), pipeline=(settings.get("test_pipeline"),), test_mode=(True,))
    others = _first_of_several(data, loader)
    train = _dataset(data, "train", loader)
    val = _dataset(data, "val", section(settings, "val_dataloader"))
    test = _dataset(data, "test", section(settings, "test_dataloader"))
    if train.get("type") == "RepeatDataset":
        recipe.set("TRAIN.NUM_REPEATS", pop_typed(train, "times", int))
        ignore(train, "type")
        train = section(train, "dataset")
    _read_further_lists(settings, others, train, recipe)
    _read_modality(train, val, test, recipe)
    read_pipelines(settings, train, val, test, recipe)
    if recipe.values.get("DATA.MODALITY") == "flow":
        for key in ("DATA.MEAN", "DATA.STD"):
            # Some configs repeat the two numbers for each field of a stack.
            recipe.set(key, recipe.values.get(key, [128, 128])[:2])
    _read_lists(settings, train, val, test, recipe)
    _read_storage(train, val, test, recipe)


def _first_of_several(data: Settings, loader: Settings) -> list[Settings]:
    """Keep the first of several training datasets in place, and return the others."""
    for owner, name in ((data, "train"), (loader, "dataset")):
        datasets = owner.get(name)
        if isinstance(datasets, dict) and datasets.get("type") == "ConcatDataset":
            datasets = datasets.get("datasets")
        if isinstance(datasets, list) and datasets and all(isinstance(each, dict) for each in datasets):
            owner[name] = datasets[0]
            return datasets[1:]
    return []


def _read_further_lists(settings: Settings, others: list[Settings], train: Settings, recipe: Recipe) -> None:
    """Read the training datasets after the first, as OmniSource has them."""
    lists: list[list[str]] = []
    for number, outer in enumerate(others, 1):
        name, other = f"training dataset {number}", section(outer, "dataset") or outer
        file, place = other.get("ann_file"), at(other, "ann_file", "type")
        if not isinstance(file, str) or any(train.get(key) != other.get(key) for key in _STORAGE):
            kind = str(other.get("type"))
            recipe.notes.append(
                f"not carried over: {name}, {kind} of {file!r}: {_REMEDIES.get(kind, _REMEDY)}{place}"
            )
            continue
        folder = other.get("data_prefix")
        owner, key = (folder, next(iter(folder), "")) if isinstance(folder, dict) else (other, "data_prefix")
        lists.append([file, pop_typed(owner, key, str) or ""])
        if "pipeline" in other and other.pop("pipeline") != train.get("pipeline"):
            recipe.notes.append(
                f"not carried over: the pipeline of {name}; here all lists have the first list's"
                f"{at(other, 'pipeline')}"
            )
        ignore(other, *_STORAGE, "ann_file", test_mode=(False,))
        ignore(other, num_classes=(recipe.values.get("MODEL.NUM_CLASSES"),))
        ignore(
            other, modality=(train.get("modality", "RGB"),), multi_class=(train.get("multi_class", False),)
        )
        ignore(outer, type=("RepeatDataset",))
        report_unconverted(outer, recipe.notes, prefix=name)
    recipe.set("DATA.FURTHER_TRAIN_LISTS", lists or None)
    if lists and "TRAIN.NUM_REPEATS" in recipe.values:
        recipe.notes.append(
            "changed: the first dataset is repeated there; TRAIN.NUM_REPEATS repeats all lists"
        )
    if lists and settings.get("omnisource") is True:
        ignore(settings, "omnisource")
        recipe.notes.append(
            "changed: each training list has its own batches and steps there; here one epoch mixes the "
            f"videos of all lists{at(settings, 'omnisource')}"
        )


def _dataset(data: Settings, split: str, loader: Settings) -> Settings:
    if split != "train":
        for each in (loader, section(data, f"{split}_dataloader")):
            ignore(each, *_OF_A_TEST_LOADER, sampler=({"type": "DefaultSampler", "shuffle": False},))
    return section(data, split) or section(loader, "dataset")


def _read_loader(data: Settings, loader: Settings, recipe: Recipe, num_gpus: int) -> None:
    old = section(data, "train_dataloader")
    per_gpu, workers = [
        [pop_typed(each, name, int) for each, name in ((data, old_name), (old, old_name), (loader, new_name))]
        for old_name, new_name in (("videos_per_gpu", "batch_size"), ("workers_per_gpu", "num_workers"))
    ]
    videos = next((count for count in reversed(per_gpu) if count), None)
    if videos:
        recipe.set("TRAIN.BATCH_SIZE", videos * num_gpus)
        recipe.notes.append(f"assumed: {num_gpus} GPUs with {videos} videos each (--num-gpus)")
    recipe.set(
        "DATA_LOADER.NUM_WORKERS", next((count for count in reversed(workers) if count is not None), None)
    )
    for each in (old, loader):
        recipe.set("TRAIN.DROP_LAST", pop_typed(each, "drop_last", bool))
        ignore(each, *_OF_A_LOADER, shuffle=(True,), sampler=({"type": "DefaultSampler", "shuffle": True},))


def _read_lists(settings: Settings, train: Settings, val: Settings, test: Settings, recipe: Recipe) -> None:
    root, val_root = pop_typed(settings, "data_root", str), pop_typed(settings, "data_root_val", str)
    recipe.set("DATA.PATH_TO_DATA_DIR", root)
    for key, dataset, name, folder in (
        ("DATA.TRAIN_LIST", train, "ann_file_train", root),
        ("DATA.VAL_LIST", val, "ann_file_val", val_root),
        ("DATA.TEST_LIST", test, "ann_file_test", val_root),
    ):
        named, own = pop_typed(settings, name, str), pop_typed(dataset, "ann_file", str)
        recipe.set(key, own or named)
        if named and own and named != own:
            recipe.notes.append(
                f"not carried over: {name} = {named!r}; the dataset reads {own!r}{at(settings, name)}"
            )
        known = tuple(
            known for path in (root, folder) if path for known in (path, {"video": path}, {"img": path})
        )
        ignore(dataset, data_prefix=known)
    if root:
        recipe.notes.append(
            "check the paths: here lists are looked up below DATA.PATH_TO_DATA_DIR, and videos below "
            f"DATA.PATH_PREFIX in it (MMAction2's: {root!r}, {val_root!r})"
        )


def _read_storage(train: Settings, val: Settings, test: Settings, recipe: Recipe) -> None:
    # A config for testing only has no training dataset.
    train = train or test
    shared = {name: (train.get(name),) for name in _STORAGE}
    if "Rawframe" in str(train.get("type", "")):
        recipe.set("DATA.FORMAT", "frames")
        recipe.set("DATA.FRAME_TEMPLATE", pop_typed(train, "filename_tmpl", str) or "img_{:05}.jpg")
        recipe.set("DATA.FRAME_START_INDEX", pop_number(train, "start_index", 1))
    recipe.set("DATA.MULTI_LABEL", pop_typed(train, "multi_class", bool))
    ignore(train, type=_TYPES, test_mode=(False,))
    for dataset in (val, test):
        ignore(dataset, **shared, test_mode=(True,))
        ignore(dataset, multi_class=(recipe.values.get("DATA.MULTI_LABEL", False),))
    for dataset in (train, val, test):
        ignore(dataset, start_index=(0,), num_classes=(recipe.values.get("MODEL.NUM_CLASSES"),))
    if pop_typed(train, "sample_by_class", bool):
        recipe.set("TRAIN.CLASS_BALANCED", True)
        recipe.set("TRAIN.CLASS_POWER", pop_number(train, "power"))
        ignore(train, dynamic_length=(False,))


def _read_modality(train: Settings, val: Settings, test: Settings, recipe: Recipe) -> None:
    modality = (train or test).get("modality", "RGB")
    if modality == "Flow":
        recipe.set("DATA.MODALITY", "flow")
    elif modality != "RGB":
        recipe.notes.append(
            f"not carried over: modality = {modality!r}; DATA.MODALITY is rgb, flow or rgb_diff"
            f"{at(train or test, 'modality')}"
        )
    for dataset in (train, val, test):
        ignore(dataset, modality=(modality,))
