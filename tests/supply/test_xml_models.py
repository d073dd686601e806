"""PMML and OpenVINO: ordinary documents are clean; entities, scripts, libraries, sizes are told."""

import random
import time

import pytest

from holdfast.supply.files import Scan, scan_bytes
from holdfast.supply.rules import Verdict

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'


def pmml(inside: str = "", before: str = "", function: str = "threshold") -> str:
    """A regression with one derived field."""
    return f"""{HEAD}{before}<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<Header description="made by a test" copyright="nobody"><Application name="t" version="1"/></Header>
<DataDictionary numberOfFields="2"><DataField name="x" optype="continuous" dataType="double"/>
<DataField name="y" optype="continuous" dataType="double"/></DataDictionary>
<TransformationDictionary><DerivedField name="d" optype="continuous" dataType="double">
<Apply function="{function}"><FieldRef field="x"/><Constant>0</Constant></Apply></DerivedField>
</TransformationDictionary>{inside}
<RegressionModel functionName="regression" modelName="eval (10-fold)"><MiningSchema>
<MiningField name="x"/><MiningField name="y" usageType="target"/></MiningSchema>
<RegressionTable intercept="1.5"><NumericPredictor name="x" coefficient="2"/></RegressionTable>
</RegressionModel></PMML>"""


def openvino(
    layer: str = "", data: str = 'element_type="f32" shape="1, 3" offset="0" size="12"'
) -> str:
    return f"""<?xml version="1.0"?><net name="Model0" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="?,3" element_type="f32"/>
<output><port id="0" precision="FP32" names="x.1"><dim>-1</dim><dim>3</dim></port></output></layer>
<layer id="1" name="self.class" type="Const" version="opset1"><data {data}/></layer>
<layer id="2" name="onnx.so" type="MatMul" version="opset13"><data transpose_a="false"/></layer>{layer}
</layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/></edges>
<rt_info><MO_version value="2024.1"/><conversion_parameters><is_python_api_used value="True"/>
<input_model value="DIR/model.onnx"/></conversion_parameters></rt_info></net>"""


def scanned(content: str | bytes, file: str = "model.xml") -> Scan:
    return scan_bytes(content if isinstance(content, bytes) else content.encode(), file)


def rules(scan: Scan) -> set[str]:
    return {issue.rule.id.partition("/")[2] for issue in scan.issues}


EXTENSION = '<Extension extender="R" name="note" value="{}"/>'
BENIGN = {
    "pmml": pmml(),
    "pmml with an extension": pmml(EXTENSION.format("trained on 2024-01-01")),
    "pmml with the function of another tool": pmml(function="x-log10"),
    "pmml in sixteen bits": pmml().replace("UTF-8", "UTF-16").encode("utf-16"),
    "pmml behind a comment": pmml(before="<!-- hello -->"),
    "openvino": openvino(),
    "openvino of version 7": openvino().replace('version="11"', 'version="7"').replace(
        ' version="opset13"', ""),
}  # fmt: skip


@pytest.mark.parametrize("content", BENIGN.values(), ids=BENIGN)
def test_ordinary_documents_are_clean(content) -> None:
    scan = scanned(content)
    assert scan.verdict is Verdict.CLEAN, scan.issues
    assert scan.pieces[0].format in ("pmml", "openvino")


BOMB = "<!DOCTYPE PMML [" + '<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
) + "]>"  # fmt: skip
FILE = '<!DOCTYPE PMML [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
CASES = {
    "bomb": (pmml("<Extension>&a11;</Extension>", BOMB), "xml-entity", Verdict.FLAGGED),
    "file": (pmml("<Extension>&x;</Extension>", FILE), "xml-entity", Verdict.FLAGGED),
    "file of a model of OpenVINO": (
        openvino().replace("<net", FILE.replace("PMML", "net") + "<net"), "xml-entity", Verdict.FLAGGED),
    "parameter entity": (
        pmml(before='<!DOCTYPE PMML [<!ENTITY % p SYSTEM "http://a.invalid/p"> %p;]>'),
        "xml-entity", Verdict.FLAGGED),
    "type elsewhere": (
        pmml(before='<!DOCTYPE PMML SYSTEM "http://a.invalid/p.dtd">'), "xml-entity", Verdict.FLAGGED),
    "in sixteen bits": (
        pmml(before=FILE).replace("UTF-8", "UTF-16").encode("utf-16"), "xml-entity", Verdict.FLAGGED),
    "entity in other XML": (
        HEAD + FILE.replace("PMML", "a") + "<a/>", "xml-entity", Verdict.FLAGGED),
    "inclusion": (
        pmml('<xi:include href="file:///etc/hostname" parse="text"/>'), "xml-include", Verdict.FLAGGED),
    "style sheet": (
        pmml(before='<?xml-stylesheet href="http://a.invalid/x.xsl"?>'), "xml-include", Verdict.FLAGGED),
    "script": (pmml("<Extension><script>true</script></Extension>"), "xml-code", Verdict.FLAGGED),
    "function of Java": (pmml(function="java.lang.Runtime.exec"), "xml-code", Verdict.FLAGGED),
    "function of a class": (pmml(function="com.acme.Udf"), "xml-custom", Verdict.UNREAD),
    "library of an extension": (pmml(EXTENSION.format("lib/x.jar")), "xml-code", Verdict.FLAGGED),
    "code in an extension": (
        pmml(EXTENSION.format("os.system('true')")), "code-in-metadata", Verdict.FLAGGED),
    "code in text": (
        pmml("<Extension>__import__('os')</Extension>"), "code-in-metadata", Verdict.FLAGGED),
    "layer of an extension": (
        openvino('<layer id="3" name="c" type="Acme" version="extension"/>'),
        "xml-custom", Verdict.UNREAD),
    "layer of no set": (openvino('<layer id="3" name="c" type="Acme"/>'), "xml-custom", Verdict.UNREAD),
    "library": (
        openvino('<layer id="3" name="c" type="A" version="opset1"><data lib="./x.so"/></layer>'),
        "xml-code", Verdict.FLAGGED),
    "kernel": (
        '<CustomLayer name="A" type="SimpleGPU"><Kernel entry="k"><Source filename="k.cl"/></Kernel>'
        "</CustomLayer>", "xml-code", Verdict.FLAGGED),
    "weights of another shape": (
        openvino(data='element_type="f32" shape="9, 9" offset="0" size="12"'),
        "xml-malformed", Verdict.MALFORMED),
    "weights below zero": (
        openvino(data='element_type="f32" shape="1, 3" offset="-8" size="12"'),
        "xml-malformed", Verdict.MALFORMED),
    "weights far away": (
        openvino(data='element_type="f32" shape="1, 3" offset="999999999999999999" size="12"'),
        "xml-malformed", Verdict.MALFORMED),
    "cut": (pmml()[:-20], "xml-malformed", Verdict.MALFORMED),
    "unknown encoding": (pmml().replace("UTF-8", "UTF-7"), "xml-malformed", Verdict.MALFORMED),
}  # fmt: skip


@pytest.mark.parametrize(("content", "rule", "verdict"), CASES.values(), ids=CASES)
def test_every_planted_danger_is_told(content, rule, verdict) -> None:
    scan = scanned(content)
    assert rule in rules(scan), scan.issues
    assert scan.verdict is verdict


def test_a_finding_tells_the_entity_and_its_place() -> None:
    (issue,) = scanned(pmml(before=FILE)).issues
    assert "file:///etc/hostname" in issue.subject
    assert 0 < issue.offset - len(HEAD) < len(FILE)


def test_other_text_is_no_model_and_no_alarm() -> None:
    for text in ("<s>\n</s>\n<unk>\n", "<!DOCTYPE html><html></html>", "<svg></svg>", "<net"):
        scan = scanned(text, "vocab.txt")
        assert not {r for r in rules(scan) if r.startswith("xml")}
        assert not any(p.format in ("pmml", "openvino") for p in scan.pieces)


@pytest.mark.parametrize(
    "text",
    ["<PMML>" * 100_000, "<PMML>" + "<a/>" * 1_200_000, "<PMML a='" + "x" * 20_000_000,
     "<PMML>" + "y(" * 5_000_000, "<PMML " + " ".join(f"a{i}='1'" for i in range(200_000)) + "/>"],
    ids=["deep", "many", "long name", "long text", "many attributes"],
)  # fmt: skip
def test_what_is_endless_ends(text) -> None:
    begin = time.monotonic()
    assert scanned(text).verdict is not Verdict.CLEAN or "a199999" in text
    assert time.monotonic() - begin < 8


def test_no_mutation_crashes_or_hangs() -> None:
    rng, begin = random.Random(0), time.monotonic()
    for content in (*BENIGN.values(), *(case[0] for case in CASES.values())):
        raw = content if isinstance(content, bytes) else content.encode()
        for _ in range(40):
            changed = bytearray(raw)
            for _ in range(rng.choice((1, 1, 4))):
                changed[rng.randrange(len(changed))] = rng.choice(b"<>&\"'/!?\0\xff x1")
            scanned(bytes(changed[: rng.choice((len(changed), rng.randrange(len(changed))))]))
    assert time.monotonic() - begin < 8
