export const minutesPerDay = 1_440;

/** Of one day: 22:00 to 08:00 are the late evening and the early morning of the same date. */
export function isWithin(minute: number, startMin: number, endMin: number): boolean {
  return startMin < endMin
    ? minute >= startMin && minute < endMin
    : minute >= startMin || minute < endMin;
}
