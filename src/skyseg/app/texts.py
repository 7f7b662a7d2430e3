"""All texts of the page, in each of its languages."""

from __future__ import annotations

from typing import Any, NamedTuple


class Text(NamedTuple):
    en: str
    zh: str


TEXTS = {
    "tagline": Text("Cut the sky out of photographs", "把照片中的天空抠出来"),
    "photo": Text("Photograph", "照片"),
    "model": Text("Model", "模型"),
    "sky": Text("Another sky", "替换用的天空"),
    "drop_photo": Text(
        "Drop a photograph here, or click to choose one", "将照片拖到这里，或点击选择"
    ),
    "drop_sky": Text("Drop a photograph of the new sky here", "将要换上的天空拖到这里"),
    "result": Text("Result", "结果"),
    "overlay": Text("Detected sky", "识别结果"),
    "mask": Text("Mask", "掩膜"),
    "cutout": Text("Cut-out", "抠图"),
    "replaced": Text("New sky", "换天空"),
    "compare": Text("Compare", "对比"),
    "correct": Text("Correct", "修正"),
    "suspects": Text("Suspects", "可疑掩膜"),
    "models": Text("Models", "模型库"),
    "hint": Text(
        "Drop a photograph or take one. The result appears within seconds.",
        "拖入或拍摄一张照片，几秒内即可显示结果。",
    ),
    "compare_hint": Text(
        "Run two models on the same photograph, and see their registered scores.",
        "用两个模型处理同一张照片，并列出各自注册时的评分。",
    ),
    "first": Text("First model", "第一个模型"),
    "second": Text("Second model", "第二个模型"),
    "correct_hint": Text(
        "Paint <b class='is-sky'>pink</b> where there is sky, "
        "<b class='no-sky'>yellow</b> where there is none, then save. Unpainted "
        "areas keep the model's result.",
        "用<b class='is-sky'>粉色</b>涂出天空，用<b class='no-sky'>黄色</b>"
        "涂出非天空，然后保存。未涂抹的部分保持模型的结果。",
    ),
    "save": Text("Save to the inbox", "保存到收件箱"),
    "saved_mask": Text("Saved mask", "已保存的掩膜"),
    "suspects_hint": Text(
        "Masks that are probably wrong: a model that has not trained on them is sure of something "
        "else. Look first: the model can be wrong, too.",
        "可能有误的掩膜：未用它们训练过的模型给出了不同的确信结果。请先查看，模型也可能出错。",
    ),
    "suspect": Text("Suspect", "可疑样本"),
    "suspect_waiting": Text("{choice}, corrected", "{choice}，已修正"),
    "suspect_line": Text(
        "**{says}** · {share:.1%} of the pixels", "**{says}** · 占像素 {share:.1%}"
    ),
    "missing": Text("The mask lacks foreground", "掩膜缺少前景"),
    "extra": Text("The mask has too much foreground", "掩膜前景过多"),
    "misplaced": Text("The mask is elsewhere", "掩膜位置不对"),
    "inverted": Text("The mask is inverted", "掩膜前景与背景颠倒"),
    "picture_photograph": Text("Photograph", "照片"),
    "picture_mask": Text("Mask in the data set", "数据集中的掩膜"),
    "picture_model": Text("The model's answer", "模型的结果"),
    "picture_differ": Text(
        "Where they differ: orange lacks, yellow is too much",
        "两者的差异：橙色为缺少，黄色为多余",
    ),
    "correct_mask": Text("Correct the mask", "修正掩膜"),
    "correct_answer": Text("Correct the model's result", "以模型结果为基础修正"),
    "reason": Text("Why it is kept out", "排除的原因"),
    "exclude": Text("Keep out of the data set", "从数据集中排除"),
    "models_hint": Text(
        "The models in this workspace's registry. `dvc repro` registers a new version; "
        "`make promote` makes it the champion.",
        "本工作区模型库中的模型。`dvc repro` 注册新版本，`make promote` 将其设为冠军模型。",
    ),
    "refresh": Text("Refresh", "刷新"),
    # Messages while the page is used.
    "no_audit": Text(
        "**No masks have been checked yet.** Run `skyseg audit` in this workspace, then open this "
        "tab again.",
        "**尚未检查掩膜。** 请在本工作区运行 `skyseg audit`，然后重新打开本页。",
    ),
    "no_suspects": Text(
        "**No suspects are left.** After changes of the data, run `dvc repro` and `skyseg audit`.",
        "**没有可疑的掩膜了。** 数据更改后，请运行 `dvc repro` 和 `skyseg audit`。",
    ),
    "not_listed": Text(
        "This is not in the list of suspects. Choose one from the list.",
        "它不在可疑样本的列表中，请从列表中选择。",
    ),
    "no_reason": Text("Write in a few words why it is kept out.", "请简要填写排除的原因。"),
    "excluded": Text(
        "**{id}** is kept out: `data/excluded.csv` names {count}. Next: "
        "`dvc add data && dvc repro`.",
        "已排除 **{id}**，`data/excluded.csv` 中共 {count} 个。下一步："
        "`dvc add data && dvc repro`。",
    ),
    "correcting": Text(
        "You are correcting the mask of **{id}** in the data set. Unpainted areas stay as the "
        "picture shows them.",
        "正在修正数据集中 **{id}** 的掩膜。未涂抹的部分保持图中所示。",
    ),
    "saved_correction": Text(
        "Saved as **inbox/{name}**. Run `skyseg inbox accept {name}` to replace the mask of {id} "
        "in `data/`.",
        "已保存为 **inbox/{name}**。运行 `skyseg inbox accept {name}` 即可替换 `data/` 中 {id} "
        "的掩膜。",
    ),
    "no_models": Text(
        "**No model is registered yet.** Run `dvc repro` in a clone of the repository to train "
        "one, then click *Refresh* on the *Models* tab.",
        "**还没有注册任何模型。** 请在仓库的克隆中运行 `dvc repro` 训练一个模型，"
        "然后在“模型库”页点击“刷新”。",
    ),
    "only_pretrained": Text(
        "No model is registered yet, so the pretrained weights are used. They find sky, and were "
        "trained on rendered scenes. `dvc repro` in a clone of the repository trains your own; "
        "then click *Refresh* on the *Models* tab.",
        "还没有注册任何模型，因此使用预训练权重。它们用渲染场景训练，用于识别天空。"
        "在仓库的克隆中运行 `dvc repro` 即可训练自己的模型，然后在“模型库”页点击“刷新”。",
    ),
    "no_model": Text(
        "No model is registered yet. Run dvc repro, then click Refresh on the Models tab.",
        "还没有注册任何模型：请运行 dvc repro，然后在“模型库”页点击“刷新”。",
    ),
    "no_photo": Text("Choose a photograph first.", "请先选择一张照片。"),
    "no_mask": Text(
        "Choose a photograph first. Then you can correct its mask here.",
        "请先选择一张照片，然后才能在这里修正掩膜。",
    ),
    "unreadable": Text("{reason}", "无法打开这张图片（{reason}）。请换一张 JPEG 或 PNG。"),
    "slow": Text(
        "{name}: takes longer than {seconds:g} s to decode; save it again as JPEG or PNG.",
        "{name}：解码超过 {seconds:g} 秒。请另存为 JPEG 或 PNG。",
    ),
    "problem": Text("That did not work", "未能完成"),
    "animated": Text(
        "This is an animation; only its first frame is used.", "这是动画，仅使用第一帧。"
    ),
    "found": Text(
        "**{share:.1%} sky** · {label} · {width} × {height} · {seconds:.1f} s",
        "**天空占 {share:.1%}** · {label} · {width} × {height} · {seconds:.1f} 秒",
    ),
    "nothing": Text(
        "**No sky found** · {label} · {width} × {height} · {seconds:.1f} s",
        "**未发现天空** · {label} · {width} × {height} · {seconds:.1f} 秒",
    ),
    "pretrained": Text("Pretrained weights", "预训练权重"),
    "alias_choice": Text("{alias} (version {version})", "{alias}（版本 {version}）"),
    "version_choice": Text("version {version}", "版本 {version}"),
    "version": Text("Version {version}", "版本 {version}"),
    "agree": Text(
        "The two models agree on **{share:.1%}** of the pixels.",
        "两个模型在 **{share:.1%}** 的像素上一致。",
    ),
    "same_model": Text(
        "Both are the same model ({model}). Choose two different ones.",
        "两边是同一个模型（{model}）：请选择两个不同的模型。",
    ),
    "other_data": Text(
        "Scored on different data or by different code, so the scores cannot be compared.",
        "两者的评分来自不同的数据或不同的代码，不能直接比较。",
    ),
    "saved": Text(
        "Saved as **inbox/{name}**; {count} waiting in the inbox. Run "
        "`skyseg inbox accept --all` to add them to `data/`.",
        "已保存为 **inbox/{name}**，共 {count} 条待处理。运行 "
        "`skyseg inbox accept --all` 即可加入 `data/`。",
    ),
    "score": Text("Score", "评分"),
    "col_version": Text("Version", "版本"),
    "col_aliases": Text("Aliases", "别名"),
    "col_variant": Text("Network", "网络"),
    "col_created": Text("Registered", "注册时间"),
    "col_split": Text("Scored on", "评测集"),
    "lower": Text("lower is better", "越低越好"),
    "iou": Text("IoU", "交并比 IoU"),
    "iou_image": Text("IoU per image", "单图 IoU"),
    "f_max": Text("Max F", "最大 F 值"),
    "boundary_f": Text("Boundary F", "边界 F 值"),
    "mae": Text("Mean absolute error", "平均绝对误差"),
}

LANGUAGES = {"en": "English", "zh": "中文"}


def say(key: str, language: str, **values: Any) -> str:
    """The text of a key in a language, with its placeholders filled in."""
    return getattr(TEXTS[key], language).format(**values)
