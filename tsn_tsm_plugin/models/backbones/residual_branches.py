"""ResidualBranch, RESIDUAL_BRANCHES: the first layer of the residual branch in each family's blocks.

Sources: the TSM reference code, ``ops/temporal_shift.py`` (ResNets) and ``archs/mobilenet_v2.py`` (the
expanding convolution of every inverted residual that adds its input); MMAction2's ``MobileOneTSM`` (every
block). Other convolutional families follow the rule of related families. DenseNet, DPN, HGNet, VoVNet,
SelecSLS, RDNet and ShuffleNet keep their input by concatenation instead of addition. Transformer and mixer
blocks are shifted before the MLP, the residual branch that works on every token separately: Zhang et al.,
"Token Shift Transformer", arXiv:2108.02432, shift at the residual branches of ViT.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ResidualBranch:
    """The residual branch of a block class.

    Attributes:
        first: Candidate names for the first layer of the branch; the first that exists counts. "" is the
            whole block.
        adds_input: Attribute that is false or ``None`` if the block does not add its input; "" if every block
            adds its input.
        is_expanding: Whether only a 1x1 convolution counts as the first layer.
    """

    first: tuple[str, ...]
    adds_input: str = ""
    is_expanding: bool = False


_CONV1 = ResidualBranch(("conv1",))
_MLP = ResidualBranch(("mlp",))
_MAIN = ResidualBranch(("main",), "shortcut")
_GHOST = ResidualBranch(("ghost1",))

# Blocks of timm.models with the branch _MLP.
_TIMM_MLP = """
    beit.Block cait.LayerScaleBlock coat.SerialBlock convit.Block davit.ChannelBlock davit.SpatialBlock
    deepseek_vit.DeepseekVitBlock edgenext.SplitTransposeBlock efficientformer.MetaBlock1d
    efficientformer.MetaBlock2d efficientformer_v2.EfficientFormerV2Block eva.EvaBlock eva.EvaBlockPostNorm
    fasternet.MLPBlock fastvit.AttentionBlock fastvit.RepMixerBlock focalnet.FocalNetBlock
    gcvit.GlobalContextVitBlock gemma4_vit.Gemma4Block hiera.HieraBlock hieradet_sam2.MultiScaleBlock
    levit.LevitBlock maxxvit.ParallelPartitionAttention maxxvit.PartitionAttention2d
    maxxvit.PartitionAttentionCl maxxvit.TransformerBlock2d metaformer.MetaFormerBlock
    mobilevit.LinearTransformerBlock mvitv2.MultiScaleBlock nest.TransformerLayer nextvit.NextConvBlock
    nextvit.NextTransformerBlock pvt_v2.Block swin_transformer.SwinTransformerBlock
    swin_transformer_v2.SwinTransformerV2Block swin_transformer_v2_cr.SwinTransformerV2CrBlock
    tiny_vit.TinyVitBlock tnt.Block twins.Block visformer.Block vision_transformer.Block
    vision_transformer.ResPostBlock vision_transformer_relpos.RelPosBlock
    vision_transformer_relpos.ResPostRelPosBlock vision_transformer_sam.Block volo.Outlooker
    volo.Transformer xcit.XCABlock
"""
# Blocks of timm.models with the branch _CONV1.
_TIMM_CONV1 = """
    cspnet.BottleneckBlock cspnet.DarkBlock cspnet.EdgeBlock densenet.DenseLayer dla.DlaBasic
    dla.DlaBottle2neck dla.DlaBottleneck nfnet.NormFreeBlock regnet.Bottleneck regnet.PreBottleneck
    res2net.Bottle2neck resnest.ResNestBottleneck resnet.BasicBlock resnet.Bottleneck resnetv2.Bottleneck
    resnetv2.PreActBasic resnetv2.PreActBottleneck senet.Bottleneck senet.SEResNetBlock
    sknet.SelectiveKernelBasic sknet.SelectiveKernelBottleneck tiny_vit.MBConv tresnet.BasicBlock
    tresnet.Bottleneck
"""

# The keys are names of classes, so that no family is imported before it is used.
RESIDUAL_BRANCHES = {
    **{f"timm.models.{name}": _CONV1 for name in _TIMM_CONV1.split()},
    **{f"timm.models.{name}": _MLP for name in _TIMM_MLP.split()},
    # ResNet and its relatives
    "torchvision.models.resnet.BasicBlock": _CONV1,
    "torchvision.models.resnet.Bottleneck": _CONV1,
    "timm.models.byobnet.BasicBlock": ResidualBranch(("conv1_kxk",)),
    "timm.models.byobnet.BottleneckBlock": ResidualBranch(("conv1_1x1",)),
    "timm.models.byobnet.SelfAttnBlock": ResidualBranch(("conv1_1x1",), "shortcut"),
    "timm.models.byobnet.DarkBlock": ResidualBranch(("conv1_1x1",), "shortcut"),
    "timm.models.byobnet.EdgeBlock": ResidualBranch(("conv1_kxk",), "shortcut"),
    "timm.models.byobnet.RepVggBlock": ResidualBranch(("",), "identity"),
    "timm.models.byobnet.MobileOneBlock": ResidualBranch(("",)),
    "timm.models.cspnext.CspNextBlock": ResidualBranch(("conv1",), "add_identity"),
    "timm.models.inception_resnet_v2.Block35": ResidualBranch(("branch1",)),
    "timm.models.inception_resnet_v2.Block17": ResidualBranch(("branch1",)),
    "timm.models.inception_resnet_v2.Block8": ResidualBranch(("branch1",)),
    "timm.models.xception.Block": ResidualBranch(("rep",)),
    "timm.models.xception_aligned.XceptionModule": ResidualBranch(("stack",)),
    "timm.models.xception_aligned.PreXceptionModule": ResidualBranch(("stack",)),
    # RegNet
    "torchvision.models.regnet.ResBottleneckBlock": ResidualBranch(("f.a",)),
    # MobileNet, EfficientNet and their relatives
    "torchvision.models.mobilenetv2.InvertedResidual": ResidualBranch(("conv.0",), "use_res_connect", True),
    "torchvision.models.mobilenetv3.InvertedResidual": ResidualBranch(("block.0",), "use_res_connect", True),
    "torchvision.models.mnasnet._InvertedResidual": ResidualBranch(("layers.0",), "apply_residual"),
    "torchvision.models.efficientnet.MBConv": ResidualBranch(("block.0",), "use_res_connect", True),
    "torchvision.models.efficientnet.FusedMBConv": ResidualBranch(("block.0",), "use_res_connect"),
    "timm.models._efficientnet_blocks.InvertedResidual": ResidualBranch(("conv_pw",), "has_skip"),
    "timm.models._efficientnet_blocks.ConvBnAct": ResidualBranch(("conv",), "has_skip"),
    "timm.models._efficientnet_blocks.EdgeResidual": ResidualBranch(("conv_exp",), "has_skip"),
    "timm.models._efficientnet_blocks.UniversalInvertedResidual": ResidualBranch(
        ("dw_start", "pw_exp"), "has_skip"
    ),
    "timm.models.rexnet.LinearBottleneck": ResidualBranch(("conv_exp", "conv_dw"), "use_shortcut"),
    "timm.models.ghostnet.GhostBottleneck": _GHOST,
    "timm.models.ghostnet.GhostBottleneckV3": _GHOST,
    "timm.models.repghost.RepGhostBottleneck": _GHOST,
    "timm.models.repvit.RepViTBlock": ResidualBranch(("channel_mixer",)),
    "timm.models.starnet.Block": ResidualBranch(("dwconv",)),
    "timm.models.cpubone.ResidualBlock": _MAIN,
    "timm.models.lowformer.ResidualBlock": _MAIN,
    "timm.models.efficientvit_mit.ResidualBlock": _MAIN,
    "timm.models.efficientvit_msra.EfficientVitBlock": ResidualBranch(("ffn1.m",)),
    "timm.models.shvit.BasicBlock": ResidualBranch(("ffn.m",)),
    # Blocks that keep their input by concatenation
    "torchvision.models.densenet._DenseLayer": _CONV1,
    "torchvision.models.shufflenetv2.InvertedResidual": ResidualBranch(("branch2.0",)),
    "timm.models.dpn.DualPathBlock": ResidualBranch(("c1x1_a",)),
    "timm.models.hgnet.HighPerfGpuBlock": ResidualBranch(("layers.0",)),
    "timm.models.vovnet.OsaBlock": ResidualBranch(("conv_reduction", "conv_mid.0")),
    "timm.models.selecsls.SelecSlsBlock": ResidualBranch(("conv2",)),
    "timm.models.rdnet.DenseBlock": ResidualBranch(("layers",)),
    # ConvNeXt and its relatives
    "torchvision.models.convnext.CNBlock": ResidualBranch(("block.0",)),
    "timm.models.convnext.ConvNeXtBlock": ResidualBranch(("conv_dw",)),
    "timm.models.csatv2.Block": ResidualBranch(("dwconv",)),
    "timm.models.edgenext.ConvBlock": ResidualBranch(("conv_dw",)),
    "timm.models.inception_next.MetaNeXtBlock": ResidualBranch(("token_mixer",)),
    "timm.models.convmixer.Residual": ResidualBranch(("fn",)),
    "timm.models.mambaout.GatedConvBlock": ResidualBranch(("fc1",)),
    "timm.models.maxxvit.ConvNeXtBlock": ResidualBranch(("conv_dw",)),
    "timm.models.maxxvit.MbConvBlock": ResidualBranch(("conv1_1x1",)),
    "timm.models.vitamin.MbConvLNBlock": ResidualBranch(("conv1_1x1",)),
    # Transformers and MLP-Mixers
    "torchvision.models.vision_transformer.EncoderBlock": _MLP,
    "torchvision.models.swin_transformer.SwinTransformerBlock": _MLP,
    "torchvision.models.maxvit.PartitionAttentionLayer": ResidualBranch(("mlp_layer",)),
    "torchvision.models.maxvit.MBConv": ResidualBranch(("layers",)),
    "timm.models.vision_transformer.ParallelScalingBlock": ResidualBranch(("in_norm",)),
    "timm.models.vision_transformer.DiffParallelScalingBlock": ResidualBranch(("in_norm",)),
    "timm.models.vision_transformer.ParallelThingsBlock": ResidualBranch(("ffns.0",)),
    "timm.models.efficientvim.EfficientViMBlock": ResidualBranch(("ffn",)),
    "timm.models.iformer.ConvBlock": ResidualBranch(("mixer.module",)),
    "timm.models.iformer.FFN": ResidualBranch(("mixer.module",)),
    "timm.models.mlp_mixer.MixerBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.mlp_mixer.ResBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.mlp_mixer.SpatialGatingBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.sequencer.Sequencer2dBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.swiftformer.Block": ResidualBranch(("linear",)),
    "timm.models.swiftformer.ConvEncoder": ResidualBranch(("dwconv",)),
}
