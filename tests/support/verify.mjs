// Verifies webhooks on stdin, a JSON array of {secret, headers, body}, with the npm library; answers an array of words.
import { Webhook } from "standardwebhooks";

let text = "";
for await (const piece of process.stdin) text += piece;
const answers = JSON.parse(text).map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return "valid";
  } catch (error) {
    return String(error.message);
  }
});
console.log(JSON.stringify(answers));
