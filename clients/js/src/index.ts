/** The Headrace client: publish, follow topics, come back without missing or repeating a message. */

export { Client, type ClientOptions, type ConsumeOptions, type SubscribeOptions } from "./client.js";
export type { State } from "./connector.js";
export type { Consumer, Delivery } from "./consumer.js";
export { CallerError, ClientError, HeadraceError, ServerError } from "./errors.js";
export { type Schedule, SCHEDULE, type Server } from "./failover.js";
export type { Socket, SocketClass, Token } from "./link.js";
export { type Attached, type Durability, type Gap, type Kind, Message, type Payload, type Published, type Started } from "./messages.js";
export { type Outcome, outcomeOf } from "./outcomes.js";
export { formatPosition, parseSince, type Position, type Range, type Recovery, type Since } from "./positions.js";
export { type PublishCall, type PublishQueue, QUEUE } from "./publishing.js";
export type { Handlers, Subscription } from "./subscription.js";
