// Follows what happens in somebody's conversations from when they were loaded, whatever goes wrong on the way.
import { effect, signal } from "@preact/signals";
import { asFailure, connection, type Failure, follow, pauseAfter } from "./api";
import { FEED, type FeedEvent } from "./operations";

export class Feed {
  /** Null while all is well. */
  readonly banner = signal<"offline" | "catching up" | null>(null);
  private stopFollowing = () => {};
  private stopWatching = () => {};
  private stopped = false;

  constructor(
    private readonly me: string,
    /** Loads all that is shown and gives the cursor from which the feed goes on; null if there is nobody to follow. */
    private readonly load: () => Promise<string | null>,
    private readonly take: (event: FeedEvent) => void,
    /** Whether there is no use in trying again. */
    private readonly endsWith: (failure: Failure) => boolean,
  ) {}

  /** True once all is loaded and followed. Fails if the server cannot be reached. */
  async start(): Promise<boolean> {
    if (!(await this.begin())) return false;
    this.stopWatching = effect(() => {
      if (connection.value === "lost") this.banner.value = "offline";
      else if (this.banner.peek() === "offline" && connection.value === "open") this.banner.value = "catching up";
    });
    return true;
  }

  stop() {
    this.stopped = true;
    this.stopWatching();
    this.stopFollowing();
  }

  private async begin(): Promise<boolean> {
    let cursor = await this.load();
    if (cursor === null || this.stopped) return false;
    const variables = {
      me: this.me,
      // Read anew whenever the socket connects again.
      get after() {
        return cursor;
      },
    };
    const next = (event: FeedEvent) => {
      if (event.kind === "RESET") return void this.reset();
      this.take(event);
      cursor = event.cursor;
      if (event.kind === "CAUGHT_UP") this.banner.value = null;
    };
    const refused = (failure: Failure) => {
      this.banner.value ??= "catching up";
      return this.endsWith(failure);
    };
    this.stopFollowing = follow<FeedEvent>(FEED, variables, next, refused);
    return true;
  }

  /** The server cannot go on from the cursor: everything is loaded again, and followed from there. */
  private async reset() {
    this.stopFollowing();
    this.banner.value = "catching up";
    for (let failures = 0; !this.stopped; failures++) {
      try {
        await this.begin();
        return;
      } catch (error) {
        await pauseAfter(asFailure(error), failures);
      }
    }
  }
}
