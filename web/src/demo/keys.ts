// Lists that are used with the keyboard.

/** Moves the focus to the next or the one before of these elements, for an arrow key. */
export function stepThrough(event: KeyboardEvent, stops: HTMLElement[]) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const place = stops.indexOf(document.activeElement as HTMLElement);
  const next = step && place >= 0 && !event.isComposing && stops[place + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
}

/** The rows of the list in this part of the page; none while what was typed last is not found yet. */
const rowsIn = (part: HTMLElement) => [...part.querySelectorAll<HTMLElement>(".rows:not([aria-busy=true]) a.row")];

/** For a part of the page with fields to search and one list: the arrow keys go from the field through the rows and back. */
export function stepThroughRows(event: KeyboardEvent, part: HTMLElement) {
  const fields = [...part.querySelectorAll<HTMLInputElement>("input[type=search]")];
  const field = fields.find((its) => its === document.activeElement) ?? fields.find(({ value }) => value) ?? fields[0]!;
  stepThrough(event, [field, ...rowsIn(part)]);
}

/** Opens the first row. */
export const openFirst = (part: HTMLElement) => rowsIn(part)[0]?.click();

/** For a field that searches by itself: Enter opens the first row of this part of the page. */
export function onEnter(part: { current: HTMLElement | null }) {
  return (event: KeyboardEvent) => {
    if (event.key !== "Enter" || event.isComposing) return;
    // The row may take away what is here.
    event.stopPropagation();
    openFirst(part.current!);
  };
}
