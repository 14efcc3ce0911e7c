// How far a message got, as a sign.
/** @jsxImportSource preact */
import type { Status } from "./operations";
import type { Unsent } from "./outbox";

type Stage = Status | Unsent["state"];

const STAGES: Record<Stage, string> = {
  sending: "Sending",
  waiting: "Waiting to be sent",
  failed: "Not sent",
  SENT: "Sent",
  DELIVERED: "Delivered",
  READ: "Read",
};

const TICK = "M2 9l4 4 8-9";
const CLOCK = "M10 2a7 7 0 1 0 .01 0M10 5v4l3 2";
const SHAPES: Record<Stage, string[]> = {
  sending: [CLOCK],
  waiting: [CLOCK],
  failed: ["M10 2a7 7 0 1 0 .01 0M10 5v4.500M10 12v.2"],
  SENT: [TICK],
  DELIVERED: [TICK, "M9 12l1 1 8-9"],
  READ: [TICK, "M9 12l1 1 8-9"],
};

/** In words for those who hear it, and where `inWords` says so. */
export function Sign({ stage, inWords = false }: { stage: Stage; inWords?: boolean }) {
  return (
    <span class={`sign ${stage.toLowerCase()}`} title={STAGES[stage]}>
      <span class={inWords ? undefined : "hidden"}>{STAGES[stage]}</span>
      <svg viewBox="0 0 20 18" aria-hidden="true">
        {SHAPES[stage].map((shape) => (
          <path key={shape} d={shape} />
        ))}
      </svg>
    </span>
  );
}
