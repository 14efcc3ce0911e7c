// The tokens of a user who has signed in: refreshed before they expire, once for all concurrent requests.
import type { Client } from "@urql/core";
import { SignedOut, fetchWithin, retrying } from "./connection.js";
import { Refresh, SignIn, SignUp } from "./documents.js";
import type { RefreshMutation } from "./gql/graphql.js";

/** A token is refreshed so many milliseconds before it expires. */
const EXPIRY_MARGIN = 60_000;
/** But not so soon after it was issued, unless the server refuses it: its lifetime may be shorter than the margin. */
const MIN_REFRESH_INTERVAL = 10_000;
/** A lost answer can be requested again for ten seconds: with this timeout, in milliseconds, a second try fits. */
const REFRESH_TIMEOUT = 4_000;

type Answer = RefreshMutation["refreshSession"];

/** With a service token, or none on an open server, there is nothing to refresh. */
export class Session {
  #refreshToken: string | undefined;
  #ends = Infinity;
  #refreshing: Promise<void> | undefined;

  /** `anonymous` sends requests without a token. */
  constructor(
    readonly anonymous?: Client,
    private accessToken?: string,
  ) {}

  /** An access token that is valid for some time. */
  async token(): Promise<string | undefined> {
    if (this.#ends - Date.now() < EXPIRY_MARGIN) {
      this.#refreshing ??= this.#refresh().finally(() => (this.#refreshing = undefined));
      await this.#refreshing;
    }
    return this.accessToken;
  }

  /** The server refused this token: the next call of `token` refreshes it, unless that was done. False if it cannot be refreshed. */
  invalidate(accessToken: string | undefined): boolean {
    if (!this.#refreshToken) return false;
    if (accessToken === this.accessToken) this.#ends = 0;
    return true;
  }

  keep({ accessToken, refreshToken, userErrors: [problem] }: Answer): void {
    if (!accessToken || !refreshToken) throw new SignedOut(problem?.message);
    this.accessToken = accessToken;
    this.#refreshToken = refreshToken;
    this.#ends = Date.now() + Math.max(lifetime(accessToken), EXPIRY_MARGIN + MIN_REFRESH_INTERVAL);
  }

  async #refresh(): Promise<void> {
    const token = this.#refreshToken ?? "";
    const options = { fetch: fetchWithin(REFRESH_TIMEOUT) };
    this.keep((await retrying(() => this.anonymous!.mutation(Refresh, { token }, options))).refreshSession);
  }
}

/** The lifetime of a new token, in milliseconds: the clock of the machine may differ from the server's. */
function lifetime(accessToken: string): number {
  const [, claims = ""] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}

/** Signs a user in, creates the account if there is none, and returns the id of the user. */
export async function signIn(anonymous: Client, name: string, email: string, password: string) {
  const session = new Session(anonymous);
  const signInOnce = async () => (await retrying(() => anonymous.mutation(SignIn, { input: { email, password } }))).signIn;
  let answer = await signInOnce();
  if (answer.userErrors[0]?.code === "BAD_CREDENTIALS") {
    answer = (await retrying(() => anonymous.mutation(SignUp, { input: { name, email, password } }))).signUp;
  }
  // Perhaps by an earlier try whose answer was lost. Otherwise the password is wrong.
  if (answer.userErrors[0]?.code === "EMAIL_TAKEN") answer = await signInOnce();
  session.keep(answer);
  return { session, me: answer.viewer!.user.id };
}
