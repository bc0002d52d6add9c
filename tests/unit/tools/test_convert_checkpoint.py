import pytest
import torch
from support.golden import GoldenModel

from tsn_tsm_plugin.models import create_tsm, create_tsn, load_weights
from tsn_tsm_plugin.models.deploy.reparameterize import reparameterize
from tsn_tsm_plugin.tools.convert_checkpoint import main

MIT_NAME = "TSM_kinetics_RGB_resnet18_shift8_blockres_avg_segment8_e50.pth"


@pytest.fixture
def mit_file(tmp_path):
    path = tmp_path / MIT_NAME
    torch.save({"state_dict": GoldenModel.read("state_dicts/mit_tsm_r18_8f").state_dict(), "epoch": 50}, path)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_of_the_references_becomes_ours_and_is_described(mit_file, tmp_path, capsys, suffix):
    destination = tmp_path / "new" / f"tsm{suffix}"

    assert main([str(mit_file), str(destination)]) == 0

    printed = capsys.readouterr().out
    for line in (
        "format      mit-han-lab",
        "method      tsm (from the names)",
        "backbone    resnet18 (from the names)",
        "segments    8 (from the file name)",
        "shift       shift_div 8 (from the file name), shift_place blockres (from the names)",
        "non-local   none",
        "classes     400 (from the names)",
        "dataset     kinetics400 (from the file name)",
    ):
        assert line in printed
    first, second = create_tsm(backbone="resnet18"), create_tsm(backbone="resnet18")
    load_weights(first, mit_file)
    report = load_weights(second, destination)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    assert report.format == "tsn_tsm_plugin"
    assert report.attributes["dataset"].value == "kinetics400"


def test_what_was_converted_keeps_its_number_of_segments(mit_file, tmp_path, capsys):
    renamed = mit_file.rename(tmp_path / "weights.pth")
    destination = tmp_path / "tsm.safetensors"

    main([str(renamed), str(destination), "--num-segments", "16", "--dataset", "jester"])

    assert "segments    16 (from the command line)" in capsys.readouterr().out
    facts = load_weights(create_tsm(backbone="resnet18", num_segments=16), destination).attributes
    assert (facts["num_segments"].value, facts["dataset"].value) == (16, "jester")


def test_a_mobileone_gives_the_same_scores_folded_with_fewer_parameters(tmp_path, capsys):
    model = create_tsn(backbone="mobileone_s4", num_classes=7).eval()
    for name, value in model.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(std=0.1)
    torch.save(model.state_dict(), tmp_path / "train.pth")

    assert main([str(tmp_path / "train.pth"), str(tmp_path / "fold.pth"), "--reparameterize"]) == 0

    folded = create_tsn(backbone="mobileone_s4", num_classes=7)
    load_weights(folded, tmp_path / "fold.pth")
    video = torch.randn(1, 3, 1, 64, 64)
    with torch.inference_mode():
        scores = model(video)
        assert (folded.eval()(video) - scores).abs().max() < 1e-4 * scores.std()
    assert len(folded.state_dict()) < len(model.state_dict()) / 4
    assert sum(p.numel() for p in folded.parameters()) < sum(p.numel() for p in model.parameters())


def test_folding_leaves_the_model_that_is_given():
    model = create_tsm(backbone="mobileone_s4", num_classes=3, num_segments=2)
    names = list(model.state_dict())

    reparameterize(model)

    assert list(model.state_dict()) == names


def test_there_is_nothing_to_fold_in_a_resnet(mit_file, tmp_path, capsys):
    assert main([str(mit_file), str(tmp_path / "a.pth"), "--reparameterize"]) == 2

    assert "nothing to re-parameterise in TSM" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()


def test_a_contradiction_to_the_file_is_refused(tmp_path, capsys):
    model = create_tsm(backbone="resnet18", num_classes=174)
    torch.save({"model_state": model.state_dict(), "facts": {"dataset": "sthv1"}}, tmp_path / "a.pth")

    assert main([str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--dataset", "sthv2"]) == 2

    assert "has dataset=sthv1 (from the description), not sthv2" in capsys.readouterr().err


def test_a_file_that_is_no_checkpoint_is_one_line_and_exit_code_2(tmp_path, capsys):
    (tmp_path / "a.pth").write_text("hello there")

    assert main([str(tmp_path / "a.pth"), str(tmp_path / "b.pth")]) == 2

    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pth"]
