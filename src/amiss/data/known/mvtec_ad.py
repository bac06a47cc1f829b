"""MVTec AD: 15 kinds of objects and textures, with folders of defects and their masks."""

from amiss.data.known.base import FolderSet


class MVTecAD(FolderSet):
    """Bergmann et al., MVTec AD: a comprehensive real-world dataset for unsupervised anomaly detection, CVPR 2019."""

    title = "MVTec AD"
    source = "https://www.mvtec.com/company/research/datasets/mvtec-ad"
    licence = "CC BY-NC-SA 4.0; MVTec Software GmbH"
    folders = ("mvtec-ad", "mvtec_anomaly_detection", "MVTecAD", "mvtec")
    categories = (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
        "toothbrush", "transistor", "wood", "zipper",
    )  # fmt: skip
    classes = (
        "good", "bent", "bent_lead", "bent_wire", "broken", "broken_large", "broken_small", "broken_teeth",
        "cable_swap", "color", "combined", "contamination", "crack", "cut", "cut_inner_insulation", "cut_lead",
        "cut_outer_insulation", "damaged_case", "defective", "fabric_border", "fabric_interior", "faulty_imprint",
        "flip", "fold", "glue", "glue_strip", "gray_stroke", "hole", "liquid", "manipulated_front",
        "metal_contamination", "misplaced", "missing_cable", "missing_wire", "oil", "pill_type", "poke",
        "poke_insulation", "print", "rough", "scratch", "scratch_head", "scratch_neck", "split_teeth", "squeeze",
        "squeezed_teeth", "thread", "thread_side", "thread_top",
    )  # fmt: skip
