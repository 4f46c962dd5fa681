"""The panel of the module: widgets are wired to PromptSegLib, which does the work without Qt."""

import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from PromptSegLib import mrml
from PromptSegLib.controller import Controller
from PromptSegLib.problems import Problem
from PromptSegLib.workspace import Opening

POLL_MS = 50
VIEWS = ("Red", "Green", "Yellow")
SETTINGS = {
    "addressEdit": "PromptSeg/Address",
    "pythonPath": "PromptSeg/Python",
    "rootPath": "PromptSeg/Folder",
}


class PromptSeg(ScriptedLoadableModule):
    """What Slicer's list of modules shows."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = "PromptSeg"
        self.parent.categories = ["Segmentation"]
        self.parent.dependencies = ["Markups", "Segmentations", "SegmentEditor", "Sequences"]
        self.parent.contributors = ["The promptseg authors"]
        self.parent.helpText = (
            "Boxes, clicks, regions and lines become segments on a promptseg server (promptseg serve). "
            "Research software: not a medical device."
        )
        self.parent.acknowledgementText = ""


class PromptSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.controller = Controller(self.say, self.complain, self.refresh)
        self.top = self.bottom = None
        self.looked = {}
        self.known = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/PromptSeg.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.makeEditorNode()
        buttons = {
            "connectButton": self.connectServer,
            "startButton": self.startServer,
            "stopButton": self.controller.stop_server,
            "openButton": self.openVolume,
            "closeButton": self.controller.close,
            "insideButton": lambda: self.place("vtkMRMLMarkupsFiducialNode", "Inside", True),
            "outsideButton": lambda: self.place("vtkMRMLMarkupsFiducialNode", "Outside", True),
            "boxButton": lambda: self.place("vtkMRMLMarkupsROINode", "Box", False),
            "topButton": lambda: self.setEnd("top"),
            "bottomButton": lambda: self.setEnd("bottom"),
            "segmentButton": self.segmentBox,
            "regionButton": self.segmentRegion,
            "lineButton": self.drawLine,
            "linesButton": self.segmentLines,
            "wordsButton": self.findWords,
            "undoButton": self.controller.undo,
            "redoButton": self.controller.redo,
            "cancelButton": self.controller.cancel,
            "editsButton": self.controller.send_edits,
            "previousButton": lambda: self.goTo(-1),
            "nextButton": lambda: self.goTo(1),
            "carryButton": self.controller.carry_on,
        }
        for name, do in buttons.items():
            getattr(self.ui, name).clicked.connect(self.guarded(do))
        self.ui.qualityList.itemDoubleClicked.connect(
            lambda item: self.guarded(self.lookAtDoubtful)()
        )
        changed = "currentNodeChanged(vtkMRMLNode*)"
        self.ui.segmentationSelector.connect(changed, self.ui.segmentEditor.setSegmentationNode)
        self.ui.volumeSelector.connect(changed, self.ui.segmentEditor.setSourceVolumeNode)
        for name, key in SETTINGS.items():
            self.setText(name, slicer.app.settings().value(key) or "")
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneCloses)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.makeEditorNode)
        self.timer = qt.QTimer()
        self.timer.timeout.connect(self.controller.poll)
        self.timer.start(POLL_MS)
        self.refresh()

    def makeEditorNode(self, caller=None, event=None):
        """The embedded editor's parameters, which go with a scene."""
        self.editorNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode")
        self.ui.segmentEditor.setMRMLSegmentEditorNode(self.editorNode)

    def cleanup(self):
        self.timer.stop()
        self.removeObservers()
        self.controller.stop_server()

    # What is shown.

    def say(self, text):
        self.ui.statusLabel.setText(text)

    def complain(self, text):
        slicer.util.errorDisplay(text)

    def refresh(self):
        connected, ui = self.controller.connected, self.ui
        models = connected.models if connected else []
        if [ui.modelBox.itemText(n) for n in range(ui.modelBox.count)] != models:
            ui.modelBox.clear()
            ui.modelBox.addItems(models)
        ui.openButton.setEnabled(bool(models))
        self.suggestWords()
        ui.timeSection.setEnabled(self.controller.timeline is not None)
        ui.qualityList.clear()
        ui.qualityList.addItems(self.controller.quality)

    def suggestWords(self):
        """The field for words, where the model of the open volume takes some."""
        workspace, ui = self.controller.workspace, self.ui
        able = workspace is None or workspace.connected.takes(workspace.opening.model, "text")
        ui.wordsEdit.setEnabled(able)
        ui.wordsButton.setEnabled(able)
        words = [] if workspace is None else workspace.connected.words(workspace.opening.model)
        if words != self.known:
            self.known = words
            completer = qt.QCompleter(words)
            completer.setCaseSensitivity(qt.Qt.CaseInsensitive)
            ui.wordsEdit.setCompleter(completer)

    def guarded(self, do):
        """A button's action, whose problems are shown."""

        def run(*_):
            try:
                do()
            except Problem as problem:
                self.complain(str(problem))

        return run

    # Server and volume.

    def text(self, name):
        widget = getattr(self.ui, name)
        return str(widget.currentPath if name.endswith("Path") else widget.text).strip()

    def setText(self, name, text):
        widget = getattr(self.ui, name)
        (widget.setCurrentPath if name.endswith("Path") else widget.setText)(text)

    def remember(self):
        for name, key in SETTINGS.items():
            # the token of a server that was started by hand ends with it, and is not kept
            slicer.app.settings().setValue(key, self.text(name).partition("?")[0])

    def connectServer(self):
        self.remember()
        self.controller.connect(self.text("addressEdit"), "", self.ui.anyVersionBox.checked)

    def startServer(self):
        self.remember()
        environment = dict(slicer.util.startupEnvironment())
        self.controller.start(self.text("pythonPath"), self.text("rootPath"), (), environment)

    def openVolume(self):
        volume = self.ui.volumeSelector.currentNode()
        if volume is None:
            raise Problem("expected a volume, got none; load one and choose it")
        segmentation = self.ui.segmentationSelector.currentNode()
        if segmentation is None:
            segmentation = self.ui.segmentationSelector.addNode()
        segmentation.CreateDefaultDisplayNodes()
        segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        propagate = self.ui.propagateBox.currentText.strip()
        opening = Opening(
            model=self.ui.modelBox.currentText,
            modality=self.ui.modalityBox.currentText.strip(),
            window=self.text("windowEdit"),
            propagate="" if propagate.startswith("as ") else propagate,
            path=self.text("pathEdit"),
            take_over=self.ui.takeOverBox.checked,
        )
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volume)
        points = mrml.TimePoints(browser, segmentation) if browser else None
        self.controller.open(mrml.Volume(volume), mrml.Segments(segmentation), opening, points)

    def onSceneCloses(self, caller, event):
        self.controller.scene_closed()

    # Prompts.

    @property
    def view(self):
        """The slice node of the chosen view."""
        name = VIEWS[self.ui.axisBox.currentIndex]
        return slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()

    @property
    def plane(self):
        """Origin and normal of the view (RAS)."""
        matrix = self.view.GetSliceToRAS()
        return tuple([matrix.GetElement(n, column) for n in range(3)] for column in (3, 2))

    @property
    def workspace(self):
        if self.controller.workspace is None:
            raise Problem("expected an open volume, got none; open one first")
        return self.controller.workspace

    @property
    def axis(self):
        return self.workspace.volume.grid.axis_of(self.plane[1])

    @property
    def segment(self):
        """The segment that is prompted; None makes a new one."""
        return None if self.ui.newBox.checked else self.editorNode.GetSelectedSegmentID() or None

    def markup(self, kind, name):
        """A markup of this module."""
        node = slicer.mrmlScene.GetFirstNodeByName(f"PromptSeg {name}")
        if node is None:
            node = slicer.mrmlScene.AddNewNodeByClass(kind, f"PromptSeg {name}")
            node.CreateDefaultDisplayNodes()
            if kind == "vtkMRMLMarkupsFiducialNode":
                self.addObserver(node, node.PointPositionDefinedEvent, self.onClick)
        return node

    def place(self, kind, name, persistent):
        _ = self.workspace
        node = self.markup(kind, name)
        if not persistent:
            node.RemoveAllControlPoints()
        logic = slicer.modules.markups.logic()
        logic.SetActiveList(node)
        logic.StartPlaceMode(persistent)

    def onClick(self, caller, event):
        """A point was placed: it is a prompt, and its mark goes."""
        points = {n: self.markup("vtkMRMLMarkupsFiducialNode", n) for n in ("Inside", "Outside")}
        placed = [mrml.placed_points(points[n]) for n in ("Inside", "Outside")]
        if self.controller.workspace is not None and (len(placed[0]) or len(placed[1])):
            self.guarded(lambda: self.controller.clicks(*placed, self.axis, self.segment))()
        for node in points.values():
            qt.QTimer.singleShot(0, node.RemoveAllControlPoints)

    def setEnd(self, which):
        corners = mrml.region_corners(self.markup("vtkMRMLMarkupsROINode", "Box"))
        index = self.workspace.volume.grid.slice_at(*self.plane, corners.mean(axis=0), self.axis)
        setattr(self, which, index)
        ends = [
            f"{n} {v}" for n, v in (("top", self.top), ("bottom", self.bottom)) if v is not None
        ]
        self.ui.endsLabel.setText(f"The box counts from bottom to top: {', '.join(ends)}")

    def segmentBox(self):
        box = self.markup("vtkMRMLMarkupsROINode", "Box")
        corners = mrml.region_corners(box)
        self.controller.box(corners, self.axis, self.segment, self.top, self.bottom)
        self.top = self.bottom = None
        self.ui.endsLabel.setText("The box counts on its slice")
        box.RemoveAllControlPoints()

    def segmentRegion(self):
        box = self.markup("vtkMRMLMarkupsROINode", "Box")
        self.controller.region(mrml.region_corners(box), self.axis, self.segment)
        box.RemoveAllControlPoints()

    @property
    def lines(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode")
        return [node for node in nodes if node.GetName().startswith("PromptSeg line")]

    def drawLine(self):
        self.place("vtkMRMLMarkupsLineNode", f"line {len(self.lines) + 1}", False)

    def segmentLines(self):
        nodes = self.lines
        self.controller.lines(mrml.line_ends(nodes), self.axis, self.segment)
        for node in nodes:
            slicer.mrmlScene.RemoveNode(node)

    def findWords(self):
        axis, grid = self.axis, self.workspace.volume.grid
        try:  # the slice of the view comes first, where it shows one
            index = grid.slice_at(*self.plane, grid.ras([(grid.size - 1) / 2])[0], axis)
        except Problem:
            index = None
        self.controller.words(self.text("wordsEdit"), axis, index)

    # Looking.

    def goTo(self, by):
        line = self.controller.timeline
        self.controller.go_to(-1 if line is None else line.points.current + by)

    def lookAtDoubtful(self):
        row = self.ui.qualityList.currentRow
        found = self.workspace.quality[row]
        if not found.doubtful:
            return
        turn = self.looked.get(found.name, -1) + 1
        self.looked[found.name] = turn
        index = found.doubtful[turn % len(found.doubtful)]
        place = self.workspace.place_of(found.name, index)
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *place)


class PromptSegTest(ScriptedLoadableModuleTest):
    """What Slicer's self-test runs; the rest is in Testing/Python."""

    def runTest(self):
        slicer.mrmlScene.Clear(0)
        self.assertIsNotNone(slicer.util.getModuleWidget("PromptSeg").controller)
