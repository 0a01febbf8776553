import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./relay";

const relay = createClient<paths>({ baseUrl: "https://relay.example.com", headers: { "X-API-Key": "key" } });

export async function ask(prompt: string): Promise<string> {
  const accepted = await relay.POST("/api/claude", { body: { prompt, options: { model: "smart", maxTokens: 500 } } });
  if (accepted.error) throw new Error(accepted.error.problems.map((each) => `${each.field} ${each.problem}`).join());
  const requestId = accepted.data.requestId;
  for (;;) {
    const { data, response } = await relay.GET("/api/result/{requestId}", { params: { path: { requestId }, header: { Prefer: "wait=55" } } });
    if (response.status === 200 && data && "response" in data) return data.response;
    if (data && data.status === "failed") throw new Error(data.error ?? "failed");
  }
}

export function onCallback(body: webhooks["jobCompleted"]["post"]["requestBody"]["content"]["application/json"] | components["schemas"]["Failed"]): string {
  return body.status === "completed" ? body.response : body.error;
}
