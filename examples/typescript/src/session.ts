// The tokens of somebody who has signed in: traded before they end, once for all who ask at the same time.
import type { Client } from "@urql/core";
import { SignedOut, fetchWithin, patiently } from "./connection.js";
import { Refresh, SignIn, SignUp } from "./documents.js";
import type { RefreshMutation } from "./gql/graphql.js";

/** A token is traded so many milliseconds before it ends. */
const MARGIN = 60_000;
/** But not so soon after it was given, unless the server refuses it: it may hold for less than that. */
const REST = 10_000;
/** An answer that was lost is given again for ten seconds: with so many milliseconds for each try a second one fits. */
const PATIENCE = 4_000;

type Answer = RefreshMutation["refreshSession"];

/** With a service token, or none on an open server, there is nothing to trade. */
export class Session {
  #refreshToken: string | undefined;
  #ends = Infinity;
  #trading: Promise<void> | undefined;

  /** `nobody` asks without a token. */
  constructor(
    readonly nobody?: Client,
    private accessToken?: string,
  ) {}

  /** An access token that holds for some time. */
  async token(): Promise<string | undefined> {
    if (this.#ends - Date.now() < MARGIN) {
      this.#trading ??= this.#trade().finally(() => (this.#trading = undefined));
      await this.#trading;
    }
    return this.accessToken;
  }

  /** The server refused this token: the next one to ask trades it, unless that was done. False if there is no other to have. */
  distrust(accessToken: string | undefined): boolean {
    if (!this.#refreshToken) return false;
    if (accessToken === this.accessToken) this.#ends = 0;
    return true;
  }

  keep({ accessToken, refreshToken, userErrors: [problem] }: Answer): void {
    if (!accessToken || !refreshToken) throw new SignedOut(problem?.message);
    this.accessToken = accessToken;
    this.#refreshToken = refreshToken;
    this.#ends = Date.now() + Math.max(lifetime(accessToken), MARGIN + REST);
  }

  async #trade(): Promise<void> {
    const token = this.#refreshToken ?? "";
    const options = { fetch: fetchWithin(PATIENCE) };
    this.keep((await patiently(() => this.nobody!.mutation(Refresh, { token }, options))).refreshSession);
  }
}

/** How long a new token holds, in milliseconds: the clock of the machine may be another than the server's. */
function lifetime(accessToken: string): number {
  const [, claims = ""] = accessToken.split(".");
  const { iat, exp } = JSON.parse(atob(claims.replaceAll("-", "+").replaceAll("_", "/")));
  return (exp - iat) * 1_000;
}

/** Signs somebody in who has an account, or gets one now, and gives their id. */
export async function signIn(nobody: Client, name: string, email: string, password: string) {
  const session = new Session(nobody);
  const known = async () => (await patiently(() => nobody.mutation(SignIn, { input: { email, password } }))).signIn;
  let answer = await known();
  if (answer.userErrors[0]?.code === "BAD_CREDENTIALS") {
    answer = (await patiently(() => nobody.mutation(SignUp, { input: { name, email, password } }))).signUp;
  }
  // By a try whose answer was lost, perhaps. Otherwise it was the password.
  if (answer.userErrors[0]?.code === "EMAIL_TAKEN") answer = await known();
  session.keep(answer);
  return { session, me: answer.viewer!.user.id };
}
