/** The first reading: memory over the first training steps. */
import { svg } from "../dom";
import type { Component, Course, Explained, Pinned, Report } from "../messages";
import { createAreas, silhouette } from "./areas";
import { geometry, type Size } from "./geometry";
import { createGrid } from "./grid";
import { createBracket, createCapacity, createCourse } from "./marks";
import { createOverflow } from "./overflow";
import { createPhases } from "./phases";
import type { Points } from "./points";

/** Least distance one press of an arrow key goes (pixels). */
const STRIDE = 6;

/** `explain` asks what each component is made of at a moment. */
export function createTimeline(components: Component[], explain?: (index: number) => void) {
  const grid = createGrid();
  const areas = createAreas(components);
  const overflow = createOverflow();
  const phases = createPhases();
  const before = createCourse("pinned");
  const traced = createCourse("PyTorch", { atStart: true });
  const capacity = createCapacity();
  const peak = createBracket();
  const back = svg(
    "g",
    {},
    grid.element,
    areas.element,
    overflow.element,
    phases.element,
    before.element,
    traced.element,
    areas.names,
  );
  const front = svg("g", { class: "vw-marks" }, capacity.element, peak.element);

  function draw(
    {
      report,
      pinned,
      traced: course,
      explained,
    }: {
      report: Report;
      pinned: Pinned | null;
      /** The course of PyTorch's own step, where that is there. */
      traced: Course | undefined;
      explained: Explained | null;
    },
    size: Size,
  ): Points {
    const { at, bytes, spans } = report.timeline;
    const highest = Math.max(report.high, ...(pinned?.total ?? []), ...(course?.total ?? []));
    const drawn = geometry({ at, bytes, capacity: report.capacity, highest }, components, size);
    grid.update(drawn);
    areas.update(drawn);
    overflow.update(drawn, silhouette);
    phases.update(drawn, report);
    before.update(drawn, pinned ?? undefined, at[report.peak.index]);
    traced.update(drawn, course);
    capacity.update(drawn, report.gpu);
    peak.update(drawn, drawn.x[report.peak.index] ?? drawn.plot.right, report, report.peak.label);
    return {
      ...drawn,
      half: 0,
      bytes,
      name: (index) => moment(report, index),
      remarks: () => [],
      notes: (index) => {
        const about = explained?.index === index && explained.revision === report.revision;
        return about ? explained.notes : undefined;
      },
      ...(explain && { explain }),
      home: report.peak.index,
      sections: spans.map(({ first }) => first),
      stride: STRIDE,
    };
  }
  return { back, front, draw };
}

/** "backward, step 2", or "load". */
function moment(report: Report, index: number): string {
  const span = report.timeline.spans.find(({ last }) => index <= last);
  return span && span.step > 0 ? `${span.label}, step ${span.step}` : (span?.label ?? "");
}
