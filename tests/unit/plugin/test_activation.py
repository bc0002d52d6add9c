import functools
import importlib
import sys

import pytest
import torch
import torchvision
from support.fresh_process import run_fresh

import tsn_tsm_plugin
from tsn_tsm_plugin.pytorchvideo_patch import activate as plugins


@pytest.fixture
def hosts():
    """PyTorchVideo's modules as they are without the plugin; the plugin is active again afterwards."""
    plugins.activate()
    assert plugins.deactivate()
    yield [module for name, module in sys.modules.items() if name.partition(".")[0] == "pytorchvideo"]
    plugins.activate()


def snapshot(hosts):
    from pytorchvideo.data.labeled_video_dataset import LabeledVideoDataset

    return [dict(vars(host)) for host in hosts], dict(vars(LabeledVideoDataset)), list(sys.meta_path)


def test_activation_adds_the_models_to_the_hub(hosts):
    import pytorchvideo.models.hub as hub

    assert not hasattr(hub, "tsm_r18")
    plugins.activate()
    model = hub.tsm_r18(num_classes=3, num_segments=2)

    assert model.eval()(torch.zeros(1, 3, 2, 32, 32)).shape == (1, 3)


def test_a_hub_model_keeps_the_weights_it_is_given_although_the_hosts_net_would_not(hosts, tmp_path):
    import pytorchvideo.models.hub as hub
    from pytorchvideo.models.net import Net

    plugins.activate()
    trained = torchvision.models.resnet18()
    torch.save(trained.state_dict(), tmp_path / "resnet18.pt")
    model = hub.tsm_r18(num_classes=3, num_segments=2, weights=str(tmp_path / "resnet18.pt"))

    given = {name: value for name, value in trained.state_dict().items() if not name.startswith("fc.")}
    kept = {name.replace(".net.", "."): value for name, value in model.backbone.state_dict().items()}
    assert kept.keys() == given.keys()
    assert all(torch.equal(kept[name], given[name]) for name in given)
    Net(blocks=torch.nn.ModuleList([trained]))
    assert not torch.equal(trained.conv1.weight, kept["conv1.weight"])


def test_activation_changes_nothing_that_the_host_knows(hosts):
    from pytorchvideo.data import clip_sampling, encoded_video
    from pytorchvideo.transforms import transforms_factory

    plugins.activate()

    assert type(clip_sampling.make_clip_sampler("uniform", 2)) is clip_sampling.UniformClipSampler
    assert encoded_video.select_video_class("pyav").__name__ == "EncodedVideoPyAV"
    steps = transforms_factory.create_video_transform("val").transforms
    assert "UniformTemporalSubsample" in repr(steps[0])
    with pytest.raises(NotImplementedError, match="nonsense not supported"):
        clip_sampling.make_clip_sampler("nonsense")
    with pytest.raises(ValueError, match="'nonsense' is not a valid DecoderType"):
        encoded_video.select_video_class("nonsense")
    with pytest.raises(NotImplementedError):
        transforms_factory.create_video_transform("train", aug_type="nonsense")


def test_both_modules_know_the_clip_sampler(hosts):
    import pytorchvideo.data
    import pytorchvideo.data.clip_sampling

    plugins.activate()

    for module in (pytorchvideo.data, pytorchvideo.data.clip_sampling):
        assert type(module.make_clip_sampler("whole_video", 3)).__name__ == "WholeVideoSampler"


def test_a_registered_transform_is_an_augmentation_type(hosts):
    from pytorchvideo.transforms import create_video_transform

    plugins.activate()
    transform = create_video_transform(
        "train",
        num_samples=2,
        min_size=32,
        max_size=32,
        crop_size=32,
        aug_type="center_crop",
        aug_paras={"size": 32},
    )

    assert transform(torch.zeros(3, 4, 48, 48, dtype=torch.uint8)).shape == (3, 2, 32, 32)


def test_activating_twice_is_activating_once(hosts):
    plugins.activate()
    once = snapshot(hosts)
    plugins.activate()
    plugins.activate(eager=False)

    assert snapshot(hosts) == once


def test_deactivating_restores_exactly(hosts):
    before = snapshot(hosts)
    plugins.activate()
    assert snapshot(hosts) != before

    assert plugins.deactivate() is True
    assert snapshot(hosts) == before
    assert plugins.deactivate() is True


def test_a_reload_does_not_wrap_twice(hosts):
    before = snapshot(hosts)
    plugins.activate()
    active = snapshot(hosts)
    importlib.reload(plugins)
    importlib.reload(tsn_tsm_plugin)
    plugins.activate()
    assert snapshot(hosts) == active

    assert plugins.deactivate() is True
    assert snapshot(hosts) == before


def test_a_second_copy_of_the_package_recognises_the_first_ones_patches():
    script = """
import sys, pytorchvideo.models.hub as hub, pytorchvideo.data.clip_sampling as clips
before = dict(vars(hub)), clips.make_clip_sampler
import tsn_tsm_plugin
tsn_tsm_plugin.activate()
for name in [name for name in sys.modules if name.startswith('tsn_tsm_plugin')]:
    del sys.modules[name]
import tsn_tsm_plugin as second
second.activate()
assert clips.make_clip_sampler.__wrapped__ is before[1]
assert second.deactivate()
assert (dict(vars(hub)), clips.make_clip_sampler) == before
assert not [finder for finder in sys.meta_path if 'tsn_tsm_plugin' in type(finder).__module__]
"""
    run_fresh(script)


def test_a_foreign_patch_on_top_survives(hosts):
    from pytorchvideo.data import clip_sampling

    original = clip_sampling.make_clip_sampler
    plugins.activate()
    ours = clip_sampling.make_clip_sampler

    @functools.wraps(ours)
    def foreign(*args):
        return ours(*args)

    clip_sampling.make_clip_sampler = foreign
    assert plugins.deactivate() is False
    assert clip_sampling.make_clip_sampler is foreign
    states = {row.where: row.state for row in plugins.status().rows}
    assert states["pytorchvideo.data.clip_sampling.make_clip_sampler"] == "covered"
    with pytest.raises(NotImplementedError):
        clip_sampling.make_clip_sampler("whole_video")

    clip_sampling.make_clip_sampler = ours
    assert plugins.deactivate() is True
    assert clip_sampling.make_clip_sampler is original


def test_a_name_that_is_taken_is_left_alone(hosts):
    import pytorchvideo.models.hub as hub

    def theirs():
        return "theirs"

    hub.tsm_r50 = theirs
    try:
        plugins.activate()
        assert hub.tsm_r50 is theirs
        states = {row.where: row.state for row in plugins.status().rows}
        assert states["pytorchvideo.models.hub.tsm_r50"] == "taken"
        assert plugins.deactivate() is True
        assert hub.tsm_r50 is theirs
    finally:
        del hub.tsm_r50


def test_status_prints_every_change(hosts, capsys):
    plugins.activate()
    capsys.readouterr()
    print(status := plugins.status())

    printed = capsys.readouterr().out
    assert printed.count("is active in PyTorchVideo") == 1
    assert printed.startswith("tsn_tsm_plugin is active in PyTorchVideo\n")
    assert "pytorchvideo.models.hub.tsm_r50" in printed
    assert status.active and {row.state for row in status.rows} == {"on"}


def test_a_function_taken_before_the_activation_does_not_know_our_names():
    script = """
from pytorchvideo.data import make_clip_sampler as bound_early
import tsn_tsm_plugin
from pytorchvideo.data import make_clip_sampler as bound_late
bound_late('whole_video')
try:
    bound_early('whole_video')
except NotImplementedError as error:
    print(error)
"""
    assert run_fresh(script) == "whole_video not supported\n"


def test_a_host_imported_after_the_activation_is_patched_then_and_restored():
    script = """
import sys, tsn_tsm_plugin
assert not [name for name in sys.modules if name.startswith('pytorchvideo')]
assert {row.state for row in tsn_tsm_plugin.status().rows if row.change != 'guards'} == {'waiting'}
import pytorchvideo.data, pytorchvideo.models.hub as hub
assert hub.tsm_r50 and pytorchvideo.data.make_clip_sampler('whole_video')
assert hub.__spec__.loader is hub.__loader__ and 'tsn_tsm_plugin' not in repr(hub.__loader__)
assert tsn_tsm_plugin.deactivate()
assert not hasattr(hub, 'tsm_r50')
assert not hasattr(pytorchvideo.data.make_clip_sampler, '__wrapped__')
import importlib
importlib.reload(pytorchvideo.data.clip_sampling)
assert not hasattr(pytorchvideo.data.clip_sampling.make_clip_sampler, '__wrapped__')
tsn_tsm_plugin.activate()
importlib.reload(pytorchvideo.data.clip_sampling)
assert pytorchvideo.data.clip_sampling.make_clip_sampler('whole_video')
assert tsn_tsm_plugin.deactivate()
assert not hasattr(pytorchvideo.data.clip_sampling.make_clip_sampler, '__wrapped__')
"""
    run_fresh(script)


def test_the_opt_out_variable_keeps_the_host_as_it_is():
    script = """
import tsn_tsm_plugin, pytorchvideo.models.hub as hub
print(hasattr(hub, 'tsm_r50'), tsn_tsm_plugin.status().active)
"""
    assert run_fresh(script, TSN_TSM_PLUGIN_AUTOACTIVATE="0").splitlines()[-1] == "False False"


def test_the_import_shim_leaves_nothing_behind():
    script = """
import sys, tsn_tsm_plugin, pytorchvideo.transforms as transforms, torchvision.transforms
assert 'torchvision.transforms.functional_tensor' not in sys.modules
assert not hasattr(torchvision.transforms, 'functional_tensor')
import torch
video = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
print(transforms.RandAugment()(video).shape == video.shape)
"""
    assert run_fresh(script) == "True\n"


def test_without_the_shim_the_host_still_fails_in_its_own_way():
    script = """
import tsn_tsm_plugin
tsn_tsm_plugin.deactivate()
try:
    import pytorchvideo.transforms
except ModuleNotFoundError as error:
    print(error.name)
"""
    assert run_fresh(script) == "torchvision.transforms.functional_tensor\n"


def test_importing_the_host_shows_no_warning_of_scripted_modules():
    script = """
import warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter('always')
    import tsn_tsm_plugin
    tsn_tsm_plugin.activate()
    warnings.warn('`torch.jit.script` is deprecated', FutureWarning)
print([str(one.message) for one in seen if 'torch.jit' in str(one.message)])
"""
    assert run_fresh(script) == "['`torch.jit.script` is deprecated']\n"
