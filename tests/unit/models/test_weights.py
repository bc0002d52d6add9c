import pytest
import torch
import torchvision
from safetensors.torch import save_file
from support.golden import GoldenModel

from tsn_tsm_plugin.checkpoints.translate_keys import detect_format, translate
from tsn_tsm_plugin.errors import CheckpointError
from tsn_tsm_plugin.models import create_tsm, create_tsn, load_weights


def tsm(**options):
    return create_tsm(**{"backbone": "resnet18", "num_classes": 5, **options})


def tsn(**options):
    return create_tsn(**{"backbone": "resnet18", "num_classes": 5, **options})


def refuse(model, state_dict, match, **options):
    """Load what must be refused; the model must stay as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=match) as refusal:
        load_weights(model, state_dict, **options)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert str(refusal.value).endswith("Nothing was loaded.")


def same_weights(first, second):
    return all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("create", [tsn, tsm])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_an_own_file_comes_back_as_it_was(tmp_path, create, suffix):
    saved, loaded = create(), create()
    path = tmp_path / f"a.{suffix}"
    if suffix == "pth":
        torch.save({"model_state": saved.state_dict(), "epoch": 1}, path)
    else:
        save_file({name: value.contiguous() for name, value in saved.state_dict().items()}, path)

    report = load_weights(loaded, path)

    assert same_weights(saved, loaded)
    assert (report.format, report.missing, report.unexpected) == ("tsn_tsm_plugin", [], [])
    assert report.num_mapped == len(saved.state_dict())
    assert str(path) in str(report)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_the_prefixes_of_parallel_and_compiled_training_are_dropped(prefix):
    saved, loaded = tsm(), tsm()

    load_weights(loaded, {f"{prefix}{name}": value for name, value in saved.state_dict().items()})

    assert same_weights(saved, loaded)


@pytest.mark.parametrize("part", ["backbone", "head"])
@pytest.mark.parametrize("holder", ["module", "_orig_mod", "_orig_mod.module", "module._orig_mod"])
def test_a_part_of_the_network_may_be_parallel_or_compiled_in_the_file_and_in_the_model(part, holder):
    saved, loaded, held = tsm(), tsm(), tsm()
    names = {name: name.replace(f"{part}.", f"{part}.{holder}.", 1) for name in saved.state_dict()}
    setattr(held, part, torch.nn.DataParallel(getattr(held, part)))

    load_weights(loaded, {names[name]: value for name, value in saved.state_dict().items()})
    load_weights(held, saved.state_dict())

    assert same_weights(saved, loaded)
    setattr(held, part, getattr(held, part).module)
    assert same_weights(saved, held)


def test_mit_resnet18_loads_whole():
    golden = GoldenModel.read("state_dicts/mit_tsm_r18_8f")

    report = load_weights(tsm(num_classes=400), golden.state_dict())

    assert (report.format, report.num_mapped) == ("mit-han-lab", 122)
    assert (report.missing, report.unexpected) == ([], [])


def test_a_mit_file_trained_without_dropout_has_its_classifier_in_the_network():
    saved = GoldenModel.read("state_dicts/mit_tsm_r18_8f").state_dict()
    saved = {name.replace("new_fc", "base_model.fc"): value for name, value in saved.items()}

    assert load_weights(tsm(num_classes=400), saved).missing == []


@pytest.mark.parametrize("create", [tsn, tsm])
def test_an_imagenet_classifier_fills_the_backbone_and_its_last_layer_is_reported(create):
    classifier = torchvision.models.resnet18()
    model = create()
    head = model.head.fc.weight.clone()

    report = load_weights(model, classifier.state_dict())

    assert report.format == "ImageNet classifier"
    assert report.missing == ["head.fc.weight", "head.fc.bias"]
    assert report.unexpected == ["fc.weight", "fc.bias"]
    conv1 = model.backbone.layer1[0].conv1
    assert torch.equal(getattr(conv1, "net", conv1).weight, classifier.layer1[0].conv1.weight)
    assert torch.equal(model.head.fc.weight, head)


def test_old_files_without_batch_counts_load_and_report_it():
    saved = {k: v for k, v in tsm().state_dict().items() if not k.endswith("num_batches_tracked")}

    report = load_weights(tsm(), saved)

    assert len(report.missing) == 20
    assert all(name.endswith("num_batches_tracked") for name in report.missing)


def test_the_classifier_can_be_skipped_to_fine_tune():
    saved, model = tsm(num_classes=7), tsm(num_classes=5)

    report = load_weights(model, saved.state_dict(), ignore_head=True)

    assert report.unexpected == report.missing == ["head.fc.weight", "head.fc.bias"]
    assert torch.equal(model.backbone.conv1.weight, saved.backbone.conv1.weight)


def test_a_tsn_checkpoint_does_not_enter_a_tsm():
    refuse(tsm(), tsn().state_dict(), r"the model shifts 8 sites .* a TSN checkpoint in a TSM")


def test_a_tsm_checkpoint_does_not_enter_a_tsn():
    refuse(tsn(), tsm().state_dict(), r"the file shifts 8 sites .* a TSM checkpoint in a TSN")


def test_a_tsm_of_another_placement_is_refused():
    refuse(tsm(), tsm(shift_place="block").state_dict(), "shift at different sites: backbone.layer1.0, ")


def test_a_tsm_with_temporal_pool_is_refused_without():
    refuse(tsm(), tsm(temporal_pool=True).state_dict(), "different sites: backbone.layer2, .* in the file")


def test_another_number_of_classes_is_refused_with_both_numbers():
    refuse(tsm(), tsm(num_classes=7).state_dict(), "the file has 7 classes and the model 5.*num_classes=7")


def test_another_depth_is_refused():
    refuse(
        tsm(), tsm(backbone="resnet34").state_dict(), "backbone.layer1.2.*another backbone, depth or method"
    )


def test_a_foreign_state_dict_is_refused():
    refuse(tsm(), torch.nn.Linear(2, 2).state_dict(), "another backbone, depth or method")


def test_a_checkpoint_with_a_missing_tensor_is_refused():
    saved = tsm().state_dict()
    del saved["backbone.layer3.1.bn2.weight"]

    refuse(tsm(), saved, r"1 entries are missing \(backbone.layer3.1.bn2.weight\)")


def test_names_of_mmaction2_become_torchvisions_and_keep_net():
    names = [
        "backbone.conv1.conv.weight",
        "backbone.conv1.bn.running_var",
        "backbone.layer1.0.conv1.conv.net.weight",
        "backbone.layer1.0.conv3.bn.bias",
        "backbone.layer2.net.0.downsample.conv.weight",
        "backbone.layer2.net.0.downsample.bn.weight",
        "cls_head.fc_cls.bias",
    ]

    assert list(translate(names, source_format=detect_format(names)).values()) == [
        "backbone.conv1.weight",
        "backbone.bn1.running_var",
        "backbone.layer1.0.conv1.net.weight",
        "backbone.layer1.0.bn3.bias",
        "backbone.layer2.net.0.downsample.0.weight",
        "backbone.layer2.net.0.downsample.1.weight",
        "head.fc.bias",
    ]


def test_two_entries_that_mean_the_same_are_refused():
    saved = tsm().state_dict()
    saved["module.head.fc.bias"] = saved["head.fc.bias"]

    with pytest.raises(CheckpointError, match="module.head.fc.bias both mean head.fc.bias"):
        load_weights(tsm(), saved)
