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

# The keys are names of classes, so that no family is imported before it is used.
RESIDUAL_BRANCHES = {
    # ResNet and its relatives
    "torchvision.models.resnet.BasicBlock": _CONV1,
    "torchvision.models.resnet.Bottleneck": _CONV1,
    "timm.models.resnet.BasicBlock": _CONV1,
    "timm.models.resnet.Bottleneck": _CONV1,
    "timm.models.resnetv2.Bottleneck": _CONV1,
    "timm.models.resnetv2.PreActBasic": _CONV1,
    "timm.models.resnetv2.PreActBottleneck": _CONV1,
    "timm.models.res2net.Bottle2neck": _CONV1,
    "timm.models.resnest.ResNestBottleneck": _CONV1,
    "timm.models.senet.Bottleneck": _CONV1,
    "timm.models.senet.SEResNetBlock": _CONV1,
    "timm.models.sknet.SelectiveKernelBasic": _CONV1,
    "timm.models.sknet.SelectiveKernelBottleneck": _CONV1,
    "timm.models.tresnet.BasicBlock": _CONV1,
    "timm.models.tresnet.Bottleneck": _CONV1,
    "timm.models.nfnet.NormFreeBlock": _CONV1,
    "timm.models.dla.DlaBasic": _CONV1,
    "timm.models.dla.DlaBottleneck": _CONV1,
    "timm.models.dla.DlaBottle2neck": _CONV1,
    "timm.models.byobnet.BasicBlock": ResidualBranch(("conv1_kxk",)),
    "timm.models.byobnet.BottleneckBlock": ResidualBranch(("conv1_1x1",)),
    "timm.models.byobnet.SelfAttnBlock": ResidualBranch(("conv1_1x1",), "shortcut"),
    "timm.models.byobnet.DarkBlock": ResidualBranch(("conv1_1x1",), "shortcut"),
    "timm.models.byobnet.EdgeBlock": ResidualBranch(("conv1_kxk",), "shortcut"),
    "timm.models.byobnet.RepVggBlock": ResidualBranch(("",), "identity"),
    "timm.models.byobnet.MobileOneBlock": ResidualBranch(("",)),
    "timm.models.cspnet.BottleneckBlock": _CONV1,
    "timm.models.cspnet.DarkBlock": _CONV1,
    "timm.models.cspnet.EdgeBlock": _CONV1,
    "timm.models.cspnext.CspNextBlock": ResidualBranch(("conv1",), "add_identity"),
    "timm.models.inception_resnet_v2.Block35": ResidualBranch(("branch1",)),
    "timm.models.inception_resnet_v2.Block17": ResidualBranch(("branch1",)),
    "timm.models.inception_resnet_v2.Block8": ResidualBranch(("branch1",)),
    "timm.models.xception.Block": ResidualBranch(("rep",)),
    "timm.models.xception_aligned.XceptionModule": ResidualBranch(("stack",)),
    "timm.models.xception_aligned.PreXceptionModule": ResidualBranch(("stack",)),
    # RegNet
    "torchvision.models.regnet.ResBottleneckBlock": ResidualBranch(("f.a",)),
    "timm.models.regnet.Bottleneck": _CONV1,
    "timm.models.regnet.PreBottleneck": _CONV1,
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
    "timm.models.fasternet.MLPBlock": _MLP,
    "timm.models.cpubone.ResidualBlock": _MAIN,
    "timm.models.lowformer.ResidualBlock": _MAIN,
    "timm.models.efficientvit_mit.ResidualBlock": _MAIN,
    "timm.models.efficientvit_msra.EfficientVitBlock": ResidualBranch(("ffn1.m",)),
    "timm.models.shvit.BasicBlock": ResidualBranch(("ffn.m",)),
    # Blocks that keep their input by concatenation
    "torchvision.models.densenet._DenseLayer": _CONV1,
    "torchvision.models.shufflenetv2.InvertedResidual": ResidualBranch(("branch2.0",)),
    "timm.models.densenet.DenseLayer": _CONV1,
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
    "timm.models.tiny_vit.MBConv": _CONV1,
    # Transformers and MLP-Mixers
    "torchvision.models.vision_transformer.EncoderBlock": _MLP,
    "torchvision.models.swin_transformer.SwinTransformerBlock": _MLP,
    "torchvision.models.maxvit.PartitionAttentionLayer": ResidualBranch(("mlp_layer",)),
    "torchvision.models.maxvit.MBConv": ResidualBranch(("layers",)),
    "timm.models.vision_transformer.Block": _MLP,
    "timm.models.vision_transformer.ResPostBlock": _MLP,
    "timm.models.vision_transformer.ParallelScalingBlock": ResidualBranch(("in_norm",)),
    "timm.models.vision_transformer.DiffParallelScalingBlock": ResidualBranch(("in_norm",)),
    "timm.models.vision_transformer.ParallelThingsBlock": ResidualBranch(("ffns.0",)),
    "timm.models.vision_transformer_relpos.RelPosBlock": _MLP,
    "timm.models.vision_transformer_relpos.ResPostRelPosBlock": _MLP,
    "timm.models.vision_transformer_sam.Block": _MLP,
    "timm.models.beit.Block": _MLP,
    "timm.models.cait.LayerScaleBlock": _MLP,
    "timm.models.coat.SerialBlock": _MLP,
    "timm.models.convit.Block": _MLP,
    "timm.models.davit.SpatialBlock": _MLP,
    "timm.models.davit.ChannelBlock": _MLP,
    "timm.models.deepseek_vit.DeepseekVitBlock": _MLP,
    "timm.models.edgenext.SplitTransposeBlock": _MLP,
    "timm.models.efficientformer.MetaBlock1d": _MLP,
    "timm.models.efficientformer.MetaBlock2d": _MLP,
    "timm.models.efficientformer_v2.EfficientFormerV2Block": _MLP,
    "timm.models.efficientvim.EfficientViMBlock": ResidualBranch(("ffn",)),
    "timm.models.eva.EvaBlock": _MLP,
    "timm.models.eva.EvaBlockPostNorm": _MLP,
    "timm.models.iformer.ConvBlock": ResidualBranch(("mixer.module",)),
    "timm.models.iformer.FFN": ResidualBranch(("mixer.module",)),
    "timm.models.fastvit.RepMixerBlock": _MLP,
    "timm.models.fastvit.AttentionBlock": _MLP,
    "timm.models.focalnet.FocalNetBlock": _MLP,
    "timm.models.gcvit.GlobalContextVitBlock": _MLP,
    "timm.models.gemma4_vit.Gemma4Block": _MLP,
    "timm.models.hiera.HieraBlock": _MLP,
    "timm.models.hieradet_sam2.MultiScaleBlock": _MLP,
    "timm.models.levit.LevitBlock": _MLP,
    "timm.models.maxxvit.TransformerBlock2d": _MLP,
    "timm.models.maxxvit.PartitionAttentionCl": _MLP,
    "timm.models.maxxvit.ParallelPartitionAttention": _MLP,
    "timm.models.maxxvit.PartitionAttention2d": _MLP,
    "timm.models.metaformer.MetaFormerBlock": _MLP,
    "timm.models.mlp_mixer.MixerBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.mlp_mixer.ResBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.mlp_mixer.SpatialGatingBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.mobilevit.LinearTransformerBlock": _MLP,
    "timm.models.mvitv2.MultiScaleBlock": _MLP,
    "timm.models.nest.TransformerLayer": _MLP,
    "timm.models.nextvit.NextConvBlock": _MLP,
    "timm.models.nextvit.NextTransformerBlock": _MLP,
    "timm.models.pvt_v2.Block": _MLP,
    "timm.models.sequencer.Sequencer2dBlock": ResidualBranch(("mlp_channels",)),
    "timm.models.swiftformer.Block": ResidualBranch(("linear",)),
    "timm.models.swiftformer.ConvEncoder": ResidualBranch(("dwconv",)),
    "timm.models.swin_transformer.SwinTransformerBlock": _MLP,
    "timm.models.swin_transformer_v2.SwinTransformerV2Block": _MLP,
    "timm.models.swin_transformer_v2_cr.SwinTransformerV2CrBlock": _MLP,
    "timm.models.tiny_vit.TinyVitBlock": _MLP,
    "timm.models.tnt.Block": _MLP,
    "timm.models.twins.Block": _MLP,
    "timm.models.visformer.Block": _MLP,
    "timm.models.volo.Outlooker": _MLP,
    "timm.models.volo.Transformer": _MLP,
    "timm.models.xcit.XCABlock": _MLP,
}
